/** The grid of a run's heads in the colours that the reader chose. */

import {categorical, css, diverging, sequential} from "./colour.js";
import {choice, h, select} from "./elements.js";
import {grid} from "./grids.js";
import {largest, percent, share, signed} from "./numbers.js";
import {ramp} from "./pictures.js";
import {names, property, ranked} from "./run.js";
import {state} from "./state.js";

/** @typedef {import("./run.js").Run} Run */

/** @typedef {import("./grids.js").Cell} Cell */

/**
 * Colour heads by what the reader chose.
 * @param {Run} run
 * @returns {{cell: (l: number, i: number) => Cell, mlp: ((l: number) => Cell) | null, legend: Node}}
 */
function painter(run) {
  const question = run.questions[Math.min(state.question, run.questions.length - 1)];
  if (state.colour === "effect") {
    const limit = largest([...question.heads.flat(), ...question.mlp]);
    const paint = (x) => ({colour: diverging(x / limit), text: signed(x), label: `direct effect ${signed(x)}`});
    return {
      cell: (l, i) => paint(question.heads[l][i]),
      mlp: (l) => paint(question.mlp[l]),
      legend: h(
        "div.legend",
        ramp((t) => diverging(2 * t - 1), signed(-limit), null, signed(limit)),
        h(
          "span",
          `${run.units} with the ${question.known ? `image’s own ${question.name}` : "nearest text"}, ` +
            `minus the mean of all ${question.texts.length}`,
        ),
      ),
    };
  }
  if (state.colour === "property") {
    const order = ranked(run),
      place = Object.fromEntries(order.map((i, at) => [i, at])),
      seen = new Set();
    const cell = (l, i) => {
      const found = property(run, l, i);
      if (!found) return {colour: sequential(0), text: "", label: "no property"};
      seen.add(found.index);
      return {
        colour: categorical(place[found.index], found.share),
        text: found.name,
        label: `${found.name}, ${percent(found.share)} of what its texts explain`,
      };
    };
    run.pages.forEach((row, l) => row.forEach((_, i) => cell(l, i)));
    return {
      cell,
      mlp: null,
      legend: h(
        "ul.legend",
        order
          .filter((i) => seen.has(i))
          .map((i) => h("li", h("span.swatch", {style: {background: css(categorical(place[i]))}}), run.properties[i])),
        h("li", "the stronger, the more of what the head’s texts explain"),
      ),
    };
  }
  const limit = largest(run.variance.heads.flat()),
    beyond = largest(run.variance.mlp) > limit;
  const paint = (x) => ({colour: sequential(x / limit), text: share(x), label: `${share(x)} of the variance`});
  return {
    cell: (l, i) => paint(run.variance.heads[l][i]),
    mlp: (l) => paint(run.variance.mlp[l]),
    legend: h(
      "div.legend",
      ramp(sequential, "0%", null, share(limit) + (beyond ? " and more" : "")),
      h("span", "of the variance over images, summed over all terms"),
    ),
  };
}

/**
 * Offer the ways to colour heads.
 * @param {Run} run
 * @param {(kind?: string) => void} redraw
 */
export function colours(run, redraw) {
  /** @type {[string, string][]} */
  const modes = [
    ["variance", "Variance"],
    ["effect", "Direct effect"],
  ];
  if (run.properties.length) modes.push(["property", "Property"]);
  return h(
    "div.controls",
    choice("colour", "Colour by", modes, state.colour, (value) => {
      state.colour = value;
      redraw("colour");
    }),
    state.colour === "effect" && run.questions.length > 1 && asked(run, redraw),
  );
}

/**
 * Offer the questions.
 * @param {Run} run
 * @param {(kind?: string) => void} redraw
 */
export const asked = (run, redraw) =>
  select(
    "on",
    run.questions.map((question, i) => [i, question.name]),
    state.question,
    (value) => {
      state.question = Number(value);
      redraw("select");
    },
  );

/**
 * Draw the grid of heads with its colours and their key.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {(kind?: string) => void} redraw
 * @param {boolean} chosen whether colours are offered
 */
export function board(run, where, redraw, chosen = true) {
  const {cell, mlp, legend} = painter(run);
  const readout = h(
    "p.readout",
    {"aria-hidden": "true"},
    "Point at a head, or move with the arrow keys, to read it; open it to see its texts and pictures.",
  );
  const tell = (layer, head) => {
    const found = property(run, layer, head);
    const about = found ? `, ${found.name} ${percent(found.share)}` : "",
      texts = names(run, layer, head).slice(0, 3).join(" · ");
    readout.textContent =
      `Layer ${layer}, head ${head}: ${share(run.variance.heads[layer][head])}` + ` of the variance${about}; ${texts}`;
  };
  return h(
    "div",
    chosen && colours(run, redraw),
    grid(run, where, `Heads of ${run.model} by layer`, cell, mlp, tell),
    legend,
    readout,
  );
}
