/** Two runs side by side, and the heads that changed their role between them. */

import {board, colours} from "./board.js";
import {h, table} from "./elements.js";
import {percent, share} from "./numbers.js";
import {names, property} from "./run.js";

/** @typedef {import("./run.js").Run} Run */

/**
 * The page of two runs.
 * @param {Run[]} runs
 * @param {{layer: number, head: number, texts: number, properties: number}[] | null} changes
 * @param {(kind?: string) => void} redraw
 */
export function comparePage(runs, changes, redraw) {
  const body = [
    h("h1", {tabindex: "-1"}, "Two runs"),
    h("p.lede", `${runs[0].name} beside ${runs[1].name}.`),
    colours(runs[0], redraw),
    h(
      "div.side-by-side",
      runs.map((run, i) =>
        h("section", h("h2", run.name), h("p.note", run.model), board(run, `#/${i}`, redraw, false)),
      ),
    ),
  ];
  if (!changes)
    return {
      title: "Two runs",
      body: [...body, h("p", "Their models have different heads, so none can be followed from one to the other.")],
    };
  const role = (run, i, l, head) =>
    h(
      "span",
      h("a", {href: `#/${i}/head/${l}/${head}`}, property(run, l, head)?.name || "texts"),
      h("span.note", ` ${share(run.variance.heads[l][head])} · ${names(run, l, head).slice(0, 3).join(" · ")}`),
    );
  body.push(
    h(
      "section",
      h("h2", "Which heads changed role"),
      table(
        "How much of what a head’s texts explain went to other texts, and to other properties: 0% is the same role.",
        [
          {name: "Head"},
          {name: "Texts", number: true},
          {name: "Property", number: true},
          {name: runs[0].name},
          {name: runs[1].name},
        ],
        changes
          .slice(0, 100)
          .map((one) => [
            `${one.layer}.${one.head}`,
            percent(one.texts),
            percent(one.properties),
            role(runs[0], 0, one.layer, one.head),
            role(runs[1], 1, one.layer, one.head),
          ]),
      ),
    ),
  );
  return {title: "Two runs", body};
}
