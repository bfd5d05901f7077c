/** The first page of a run: its heads, its layers, its questions and its model card. */

import {asked, board} from "./board.js";
import {fact, h, table} from "./elements.js";
import {layerBars} from "./grids.js";
import {count, percent, power, signed} from "./numbers.js";
import {strongest} from "./run.js";
import {state} from "./state.js";

/** @typedef {import("./run.js").Run} Run */

/**
 * The first page of a run.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {(kind?: string) => void} redraw
 */
export function overview(run, where, redraw) {
  const check = run.card.check,
    question = run.questions[Math.min(state.question, run.questions.length - 1)],
    n = run.layers * run.heads;
  const body = [
    h("h1", {tabindex: "-1"}, run.model),
    h(
      "p.lede",
      `What ${count(n, "attention head")} in ${count(run.layers, "layer")} ${n === 1 ? "does" : "do"} with `,
      `${count(run.n_images, "image")}. Each embedding is the sum of its parts, `,
      "and each part is read with the model’s own words.",
    ),
    h(
      "dl.facts",
      fact("Images", run.n_images.toLocaleString("en")),
      fact("Heads", String(n)),
      fact("Variance in heads", percent(run.variance.heads.flat().reduce((sum, x) => sum + x, 0))),
      fact(
        "Parts sum to the whole within",
        power(check.error),
        check.holds === null ? "" : check.holds ? "holds" : "broken",
        check.holds === null ? "" : check.holds ? " ✓" : " ✗",
      ),
    ),
    h("section", {"aria-labelledby": "heads-title"}, h("h2", {id: "heads-title"}, "Heads"), board(run, where, redraw)),
    h(
      "section",
      {"aria-labelledby": "layers-title"},
      h("h2", {id: "layers-title"}, "Direct effect by layer"),
      run.questions.length > 1 && h("div.controls", asked(run, redraw)),
      layerBars(
        `Mean direct effect on the ${question.known ? `right ${question.name}` : "nearest text"} over ` +
          `${count(question.n, "image")}, in ${run.units} minus the mean of all ${question.texts.length} texts. ` +
          "Input is what the class token brings before the first layer.",
        question.heads,
        question.mlp,
        question.init,
      ),
    ),
    h(
      "section",
      {"aria-labelledby": "asked-title"},
      h("h2", {id: "asked-title"}, "What was asked"),
      table(
        "Every question with its zero-shot accuracy, and the heads with the largest mean direct effect " +
          `on the right text (without labels, the nearest), in ${run.units}.`,
        [
          {name: "Question"},
          {name: "Accuracy", number: true},
          {name: "Chance", number: true},
          {name: "Strongest heads"},
        ],
        run.questions.map((one) => [
          one.name,
          one.known ? `${percent(one.accuracy)} of ${one.n.toLocaleString("en")}` : "–",
          one.known ? percent(1 / one.texts.length) : "–",
          strongest(one).map(([l, i, x], at) => [
            at ? ", " : "",
            h(
              "span",
              {style: {"white-space": "nowrap"}},
              h("a", {href: `${where}/head/${l}/${i}`}, `${l}.${i}`),
              ` ${signed(x)}`,
            ),
          ]),
        ]),
        "",
      ),
    ),
    h("section", {"aria-labelledby": "card-title"}, h("h2", {id: "card-title"}, "Model card"), modelCard(run)),
  ];
  return {title: run.model, body};
}

/**
 * Draw which checkpoint it is, what was chosen for it and why, and how exact the sum is.
 * @param {Run} run
 */
function modelCard(run) {
  const {rows, chosen, check} = run.card;
  const verdict =
    check.holds === null
      ? ""
      : check.holds
        ? `, within the ${power(check.tolerance)} allowed in float32`
        : `, more than the ${power(check.tolerance)} allowed in float32`;
  return [
    h(
      "div.scroll",
      h(
        "table.wide.card",
        h(
          "tbody",
          rows.map(([name, value]) =>
            h(
              "tr",
              h("th", {scope: "row"}, name),
              h("td", {class: /^[0-9a-f]{40,}$/.test(value) ? "hash" : null}, value),
            ),
          ),
          h(
            "tr",
            h("th", {scope: "row"}, "Sum check"),
            h(
              "td",
              "init, heads and MLPs together differ from the embedding by at most ",
              `${power(check.error)} of its length on ${count(check.images, "image")}${verdict}`,
            ),
          ),
        ),
      ),
    ),
    chosen.length
      ? [
          h("h3", "What was chosen, and why"),
          table(
            null,
            [{name: "Setting"}, {name: "Value"}, {name: "Why"}],
            chosen.map((one) => [one.what, one.value, one.why]),
            "wide card",
          ),
        ]
      : null,
  ];
}
