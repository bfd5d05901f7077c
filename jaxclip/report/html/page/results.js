/** Results of other commands: a sentence, numbers and figures each, and a page with all that a command wrote. */

import {cellOf, isRecord, worded} from "./cells.js";
import {bar, fact, h, missing, safe, table} from "./elements.js";
import {count, part, percent, plain} from "./numbers.js";
import {nested} from "./tables.js";

/** @typedef {import("./run.js").Run} Run */

const list = (value) => (Array.isArray(value) ? value : []);

const items = (value) => (isRecord(value) ? Object.entries(value).filter(([, x]) => isRecord(x)) : []);

const number = (value) => (typeof value === "number" ? value : null);

const rate = (value) => percent(number(value), 1);

const points = (value, before) =>
  number(value) === null || number(before) === null
    ? "–"
    : plain(`${value >= before ? "+" : ""}${(100 * (value - before)).toFixed(1)}`);

const told = (values, most = 6) => list(values).slice(0, most).join(", ") + (list(values).length > most ? ", …" : "");

const many = (value, word) => (number(value) === null ? `– ${word}s` : count(value, word));

const classes = (found) => `${list(found.classes).length} ${list(found.classes).length === 1 ? "class" : "classes"}`;

const amount = (value) => (number(value) === null ? "–" : value.toLocaleString("en"));

/**
 * Link to a head by its name, where the run that it belongs to is in this report.
 * @param {Run[]} runs
 * @param {any} data the result that names it
 * @param {string} name such as "5.2"
 */
function headLink(runs, data, name) {
  const at = runs.findIndex((run) => run.name === data.run),
    found = /^(\d+)\.(\d+)$/.exec(name);
  return at < 0 || !found || !runs[at].pages[found[1]]?.[found[2]]
    ? String(name)
    : h("a", {href: `#/${at}/head/${found[1]}/${found[2]}`}, name);
}

const rated = (value, most = 1) => bar(number(value), most, part(number(value), most), false);

const KINDS = {
  Ablation: {
    fits: (found) => Array.isArray(found.attention_layers) && Array.isArray(found.heads),
    named: ({heads, ...rest}) => ({...rest, accuracy_without_each_head: heads}),
    sentence: (found) =>
      `Zero-shot accuracy on ${cellOf(found.label)} over ${many(found.n_images, "image")}, ` +
      `with parts replaced by their means. Chance is ${rate(found.chance)}.`,
    facts: (found) => [
      ["Nothing ablated", rate(found.accuracy)],
      ...(number(found.mlps_and_input) === null
        ? [["Without MLPs and input", rate(found.mlps)]]
        : [
            ["Without MLPs and input", rate(found.mlps_and_input)],
            ["Without MLPs alone", rate(found.mlps_alone)],
          ]),
      ["Without attention", rate(list(found.attention_layers).at(-1))],
      ["Class token not to itself", rate(found.class_attn)],
    ],
    table: (found, runs) => {
      const all = list(found.heads)
        .flatMap((row, l) => list(row).map((x, i) => [`${l}.${i}`, x]))
        .filter(([, x]) => number(x) !== null);
      const top = all.sort((a, b) => Math.abs(b[1] - found.accuracy) - Math.abs(a[1] - found.accuracy)).slice(0, 6);
      const sets = list(found.sets)
        .filter(isRecord)
        .map((one) => [told(one.heads), one.accuracy]);
      return table(
        "Heads that matter most, each ablated alone",
        [{name: "Head"}, {name: "Accuracy", number: true}, {name: "Change, points", number: true}],
        [...top, ...sets].map(([name, x]) => [headLink(runs, found, name), rate(x), points(x, found.accuracy)]),
        "",
      );
    },
  },
  Debiasing: {
    fits: (found) => isRecord(found.before) && isRecord(found.after),
    sentence: (found) =>
      `Accuracy on ${cellOf(found.label)}, group by group, before and after heads` +
      (found.property ? ` that hold ${cellOf(found.property)}` : "") +
      ` are ablated (${told(found.heads)}); beside as many heads drawn at random ` +
      `from the last ${many(found.random?.late_layers, "layer")}.`,
    facts: (found) => [
      ["Worst group before", rate(found.before.worst_group)],
      ["Worst group after", rate(found.after.worst_group)],
      [
        "Worst group, random heads",
        `${rate(found.random?.worst_group?.mean)} ± ${rate(found.random?.worst_group?.std)}`,
      ],
      [
        "Weighted by training groups",
        number(found.before.weighted) === null
          ? "unknown"
          : `${rate(found.before.weighted)} → ${rate(found.after.weighted)}`,
      ],
      ["Over these images", `${rate(found.before.overall)} → ${rate(found.after.overall)}`],
    ],
    table: (found) =>
      table(
        "Accuracy by group; with random heads, the mean of all draws",
        [
          {name: "Group"},
          {name: "Images", number: true},
          {name: "Before", number: true},
          {name: "After", number: true},
          {name: "Random heads", number: true},
        ],
        items(found.before.groups).map(([name, one]) => [
          worded(name),
          amount(one.n_images),
          rate(one.accuracy),
          rate(found.after.groups?.[name]?.accuracy),
          rate(found.random?.groups?.[name]),
        ]),
        "",
      ),
  },
  Retrieval: {
    fits: (found) => Array.isArray(found.queries),
    sentence: (found) =>
      `Nearest of ${many(found.n_images, "image")} by ` +
      (found.property ? `the heads that hold ${cellOf(found.property)}` : "chosen heads") +
      ` (${told(found.heads)}), beside the nearest by the whole embedding.`,
    facts: (found) =>
      list(found.queries)
        .filter(isRecord)
        .slice(0, 4)
        .map((one) => [
          `Query ${cellOf(one.name ?? one.query)}`,
          `${cellOf(one.n_common)} of ${cellOf(found.k)} in both`,
        ]),
    table: (found) => [
      items(found.precision).length
        ? table(
            `Precision at ${cellOf(found.k)}: of the nearest, how many share the query’s value`,
            [
              {name: "Property"},
              {name: "Heads"},
              {name: "By heads", number: true},
              {name: "Whole embedding", number: true},
              {name: "Chance", number: true},
            ],
            items(found.precision).map(([name, one]) => [
              worded(name),
              told(one.heads),
              rate(one.by_heads),
              rate(one.by_embedding),
              rate(one.chance),
            ]),
            "",
          )
        : null,
      list(found.queries)
        .filter(isRecord)
        .slice(0, 4)
        .map((one) =>
          table(
            `Nearest to ${cellOf(one.name ?? one.query)}, by cosine similarity`,
            [{name: "Place"}, {name: "By heads"}, {name: "Whole embedding"}],
            list(one.by_heads)
              .slice(0, 5)
              .map((near, i) => [String(i + 1), neighbour(near), neighbour(list(one.by_embedding)[i])]),
            "",
          ),
        ),
    ],
  },
  Segmentation: {
    fits: (found) => Array.isArray(found.images) && "way" in found,
    sentence: (found) =>
      `${many(found.n_images, "picture")}, each cut into ` +
      (found.way === "foreground"
        ? `what it is taken for and the rest, among ${classes(found)}`
        : `${classes(found)} and background`) +
      `, from their names alone${found.heads === "all" ? "" : `, by heads ${told(found.heads)}`}.`,
    facts: (found) =>
      isRecord(found.metrics)
        ? [
            ["Pixel accuracy", rate(found.metrics.pixel_accuracy)],
            ["Mean IoU", rate(found.metrics.mean_iou)],
            ["Mean AP", rate(found.metrics.mean_ap)],
          ]
        : [],
    table: (found) =>
      isRecord(found.class_iou)
        ? table(
            "Intersection over union by class",
            [{name: "Class"}, {name: "IoU"}],
            Object.entries(found.class_iou).map(([name, x]) => [name, rated(x)]),
            "bars named",
          )
        : null,
  },
  "Text bases": {
    fits: (found) => isRecord(found.heads) && "pool" in found && "steps" in found,
    sentence: (found) =>
      `The ${many(found.steps, "text")} that ${found.steps === 1 ? "explains" : "explain"} most of what each head ` +
      `varies in, of ${amount(found.n_texts)} (${cellOf(found.pool)}), over ${many(found.n_images, "image")}.`,
    facts: () => [],
    table: (found, runs) =>
      table(
        "Heads, those that vary most first",
        [
          {name: "Head"},
          {name: "Of all heads’ variance", number: true},
          {name: "Explained", number: true},
          {name: "First texts"},
        ],
        items(found.heads)
          .sort((a, b) => b[1].variance_share - a[1].variance_share)
          .slice(0, 24)
          .map(([name, one]) => [
            headLink(runs, found, name),
            rate(one.variance_share),
            rate(list(one.explained).at(-1)),
            list(one.texts).filter(Boolean).slice(0, 3).join(" · "),
          ]),
      ),
  },
};

function neighbour(one) {
  if (!isRecord(one)) return "–";
  const index = number(one.index) === null ? "" : `${one.index} `;
  return `${index}${cellOf(one.name)} (${number(one.similarity)?.toFixed(3) ?? "–"})`;
}

const kindOf = (found) => Object.keys(KINDS).find((kind) => KINDS[kind].fits(found));

/**
 * Draw one result.
 * @param {{name: string, data: any, figures: {name: string, picture: string}[]}} one
 * @param {Run[]} runs
 * @param {number} place among the results
 * @param {number} at the run's place
 * @param {boolean} whole whether to draw everything in it, or what one would say of it
 */
function resultSection(one, runs, place, at, whole) {
  const kind = kindOf(one.data),
    known = KINDS[kind],
    facts = known?.facts(one.data) ?? [];
  const title = [kind || worded(one.name), kind && h("span.tag", one.name)];
  return h(
    "section.result",
    whole ? h("h1", {tabindex: "-1"}, title) : h("h2", title),
    known && h("p.lede", known.sentence(one.data)),
    facts.length > 0 &&
      h(
        "dl.facts",
        facts.map(([name, value]) => fact(name, value)),
      ),
    one.figures.length
      ? h(
          "div.figures",
          one.figures.map((figure) =>
            h(
              "figure",
              h("img", {
                src: safe(figure.picture),
                alt: `${worded(figure.name)}: the numbers are in the tables`,
                loading: "lazy",
              }),
              h("figcaption", worded(figure.name)),
            ),
          ),
        )
      : null,
    known?.table(one.data, runs),
    whole
      ? h("section", known && h("h2", "Everything it wrote"), nested(null, known?.named?.(one.data) ?? one.data, 0))
      : known
        ? h(
            "p",
            h(
              "a",
              {href: `#/${at}/results/${place}`, "aria-label": `Everything it wrote: ${one.name}`},
              "Everything it wrote",
            ),
          )
        : nested(null, one.data, 0),
  );
}

/**
 * The page of all results, or of one.
 * @param {any[]} results
 * @param {Run[]} runs
 * @param {number} at the run's place
 * @param {number | null} place of one, or null
 */
export function resultsPage(results, runs, at, place) {
  if (place !== null) {
    const one = results[place];
    return one
      ? {
          title: kindOf(one.data) || worded(one.name),
          body: [
            h("p.step", h("a", {href: `#/${at}/results`}, "← all results")),
            resultSection(one, runs, place, at, true),
          ],
        }
      : missing(`result ${place}`);
  }
  return {
    title: "Results",
    body: [
      h("h1", {tabindex: "-1"}, "Results"),
      h("p.lede", "What other commands found in the same model."),
      results.map((one, i) => resultSection(one, runs, i, at, false)),
    ],
  };
}
