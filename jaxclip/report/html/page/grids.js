/** Layers by heads as a grid of links, and layers as bars. */

import {css, inkOn} from "./colour.js";
import {bar, h} from "./elements.js";
import {beside, largest} from "./numbers.js";

/** @typedef {import("./run.js").Run} Run */

/** @typedef {{colour: number[], text: string, label: string}} Cell */

/**
 * Choose a grid's classes: cells of more than 12 columns hold no words, those of more than 6 only where there is
 * room.
 * @param {number} columns
 */
export const gridOf = (columns) => (columns > 12 ? "grid fine" : columns > 6 ? "grid many" : "grid");

/**
 * Draw layers by heads.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {string} caption
 * @param {(layer: number, head: number) => Cell} cell
 * @param {((layer: number) => Cell) | null} mlp
 * @param {(layer: number, head: number) => void} choose called when the reader points at a head
 */
export function grid(run, where, caption, cell, mlp, choose) {
  const fine = run.heads > 12,
    paint = (found) => ({background: css(found.colour), color: inkOn(found.colour)});
  const link = (layer, head) => {
    const found = cell(layer, head);
    return h(
      "td",
      h(
        "a",
        {
          href: `${where}/head/${layer}/${head}`,
          style: paint(found),
          "data-at": `${layer},${head}`,
          tabindex: layer || head ? "-1" : "0",
          "aria-label": `Layer ${layer}, head ${head}: ${found.label}`,
          onfocus: () => choose?.(layer, head),
          onmouseenter: () => choose?.(layer, head),
        },
        fine ? "" : found.text,
      ),
    );
  };
  const other = (layer) => {
    const found = mlp(layer);
    return [
      h("td.gap"),
      h(
        "td",
        h(
          "span.cell",
          {style: paint(found), title: found.label},
          h("span.visually-hidden", found.label),
          h("span", {"aria-hidden": "true"}, fine ? "" : found.text),
        ),
      ),
    ];
  };
  const heads = Array.from({length: run.heads}, (_, i) => i),
    layers = Array.from({length: run.layers}, (_, i) => i);
  const table = h(
    "table",
    {class: gridOf(run.heads)},
    h("caption.visually-hidden", caption),
    h("colgroup", h("col.names")),
    h(
      "thead",
      h(
        "tr",
        h("td.note", fine ? "" : "layer"),
        heads.map((head) =>
          h("th", {scope: "col"}, h("span", {class: fine ? "visually-hidden" : "wordy"}, "head "), String(head)),
        ),
        mlp && [h("td.gap"), h("th", {scope: "col"}, "MLP")],
      ),
    ),
    h(
      "tbody",
      layers.map((layer) =>
        h(
          "tr",
          h("th", {scope: "row"}, h("span.visually-hidden", "layer "), String(layer)),
          heads.map((head) => link(layer, head)),
          mlp && other(layer),
        ),
      ),
    ),
  );
  table.addEventListener("keydown", (event) => {
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    const at = event.target.dataset?.at?.split(",").map(Number);
    if (!step || !at || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = table.querySelector(`[data-at="${at[0] + step[0]},${at[1] + step[1]}"]`);
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return h("div.scroll.cells", table);
}

/**
 * Draw what attention and MLP of every layer say about something: numbers with bars.
 * @param {string} caption
 * @param {(number | null)[][]} heads layers by heads
 * @param {number[]} mlp
 * @param {number | null | undefined} init
 */
export function layerBars(caption, heads, mlp, init) {
  const attention = heads.map((row) => row.reduce((sum, x) => sum + (x || 0), 0));
  const limit = largest([...attention, ...mlp, init || 0]);
  const row = (name, a, m) =>
    h(
      "tr",
      h("th", {scope: "row"}, name),
      h("td", a === null ? "" : bar(a, limit, beside(a, limit))),
      h("td", m === null ? "" : bar(m, limit, beside(m, limit))),
    );
  return h(
    "div.scroll",
    h(
      "table.bars",
      h("caption", caption),
      h(
        "thead",
        h(
          "tr",
          h("th", {scope: "col"}, "Layer"),
          h("th", {scope: "col"}, "Attention, all heads"),
          h("th", {scope: "col"}, "MLP"),
        ),
      ),
      h(
        "tbody",
        init !== null && init !== undefined && row("Input", init, null),
        attention.map((a, layer) => row(String(layer), a, mlp[layer])),
      ),
    ),
  );
}
