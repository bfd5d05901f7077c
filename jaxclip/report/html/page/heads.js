/** The list of heads, and the page of one with its texts and their pictures. */

import {categorical, css} from "./colour.js";
import {bar, h, missing, table} from "./elements.js";
import {beside, largest, part, percent, share, signed} from "./numbers.js";
import {heat, imageAt, mean, overRamp, picture, unpack} from "./pictures.js";
import {names, property, ranked, reading} from "./run.js";
import {state} from "./state.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Page} Page */
/** @typedef {import("./run.js").Entry} Entry */

/**
 * The page that lists heads, those that vary most first.
 * @param {Run} run
 * @param {string} where the run's address
 */
export function headList(run, where) {
  const rows = run.pages
    .flatMap((row, l) => row.map((_, i) => [l, i]))
    .sort((a, b) => run.variance.heads[b[0]][b[1]] - run.variance.heads[a[0]][a[1]]);
  return {
    title: "Heads",
    body: [
      h("h1", {tabindex: "-1"}, "Heads"),
      h("p.lede", "Those that vary most over the images come first, each with the texts that explain most of it."),
      table(
        "Variance: of all terms’ together." +
          (run.properties.length
            ? " Property: what most of its texts are about, and how much of all that they explain."
            : ""),
        [{name: "Head"}, {name: "Variance", number: true}, {name: "Property"}, {name: "Texts"}],
        rows.map(([l, i]) => {
          const found = property(run, l, i);
          return [
            h(
              "a",
              {href: `${where}/head/${l}/${i}`},
              `${l}.${i}`,
              h("span.visually-hidden", `: layer ${l}, head ${i}`),
            ),
            share(run.variance.heads[l][i]),
            found ? `${found.name} ${percent(found.share)}` : "–",
            names(run, l, i).slice(0, 4).join(" · "),
          ];
        }),
      ),
    ],
  };
}

/**
 * The page of a head.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {number} layer
 * @param {number} head
 * @param {(kind?: string) => void} redraw
 */
export function headPage(run, where, layer, head, redraw) {
  const page = run.pages[layer]?.[head];
  if (!page) return missing(`head ${layer}.${head}`);
  const at = layer * run.heads + head,
    n = page.basis.length,
    explained = page.basis.reduce((sum, entry) => sum + (entry.gain || 0), 0);
  const near = (to, label) =>
    to >= 0 &&
    to < run.layers * run.heads &&
    h("a", {href: `${where}/head/${Math.floor(to / run.heads)}/${to % run.heads}`}, label);
  const limit = largest(run.questions.map((one) => one.heads[layer][head])),
    average = mean(page.basis.flatMap((entry) => entry.most.map((one) => unpack(one.map))));
  const body = [
    h(
      "div.head-top",
      h("h1", {tabindex: "-1"}, `Layer ${layer}, head ${head}`),
      h("p.step", near(at - 1, "← previous"), near(at + 1, "next →")),
    ),
    h(
      "p.lede",
      `${share(run.variance.heads[layer][head])} of the variance over images, summed over all terms. `,
      `Its first ${n === 1 ? "text explains" : `${n} texts explain`} ${percent(explained)} of that.`,
    ),
    composition(run, page),
    h(
      "div.columns",
      h(
        "section",
        h("h2", "Direct effects"),
        h(
          "div.scroll",
          h(
            "table.bars",
            h("caption", `On the ${run.questions[0].known ? "right" : "nearest"} text of each question, ${run.units}`),
            h(
              "tbody",
              run.questions.map((one) =>
                h(
                  "tr",
                  h("th", {scope: "row"}, one.name),
                  h("td", bar(one.heads[layer][head], limit, beside(one.heads[layer][head], limit))),
                ),
              ),
            ),
          ),
        ),
      ),
      average &&
        h(
          "section",
          h("h2", "Where it looks"),
          h(
            "div",
            {style: {"max-width": "11rem"}},
            h(
              "span.frame",
              {style: {"aspect-ratio": `${run.grid[1]} / ${run.grid[0]}`}},
              heat(average, largest(average), run.grid),
            ),
          ),
          h(
            "p.note",
            "Mean over the pictures below of what each patch adds to the text it stands under, ",
            "relative to the strongest patch of each: orange for, blue against.",
          ),
        ),
    ),
    h(
      "section",
      {"aria-labelledby": "texts-title"},
      h("h2", {id: "texts-title"}, "Its texts"),
      h(
        "div.controls",
        h(
          "label",
          h("input", {
            type: "checkbox",
            checked: state.maps,
            style: {"min-height": "0"},
            onchange: (event) => {
              state.maps = event.target.checked;
              redraw("checkbox");
            },
          }),
          " Maps over pictures",
        ),
        h("span.legend", overRamp("against", "for the text")),
      ),
      h("p.note", reading(run)),
      h(
        "ol.texts",
        page.basis.map((entry, i) => textRow(run, where, entry, i, largest(page.basis.map((one) => one.gain)))),
      ),
    ),
  ];
  return {title: `Layer ${layer}, head ${head}`, body};
}

/**
 * Draw what a head's texts are about, as parts of a whole.
 * @param {Run} run
 * @param {Page} page
 */
function composition(run, page) {
  const whole = page.shares.reduce((sum, x) => sum + x, 0);
  if (!whole) return null;
  const order = ranked(run),
    place = Object.fromEntries(order.map((i, at) => [i, at]));
  const parts = page.shares
    .map((x, i) => [x / whole, i])
    .filter(([x]) => x > 0)
    .sort((a, b) => b[0] - a[0]);
  return h(
    "div",
    h(
      "div.stack",
      {"aria-hidden": "true"},
      parts.map(([x, i]) => h("span", {style: {"flex-grow": String(x), background: css(categorical(place[i]))}})),
    ),
    h(
      "ul.legend",
      {"aria-label": "What its texts are about"},
      parts.map(([x, i]) =>
        h(
          "li",
          h("span.swatch", {style: {background: css(categorical(place[i]))}}),
          `${run.properties[i]} ${percent(x)}`,
        ),
      ),
    ),
  );
}

/**
 * Draw a text of a head, with the images that the head answers most and least to.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {Entry} entry
 * @param {number} rank
 * @param {number} first what the longest bar is worth
 */
function textRow(run, where, entry, rank, first) {
  const text = run.texts[entry.text],
    maps = entry.most.map((one) => unpack(one.map)),
    limit = Math.max(0, ...maps.map((map) => largest(map)));
  const shown = (one, i, mapped) =>
    h(
      "li",
      h(
        "figure",
        h(
          "a",
          {href: imageAt(run, where, one.image)},
          picture(run, one.image, {map: mapped && state.maps ? maps[i] : null, limit}),
        ),
        h("figcaption", signed(one.value)),
      ),
    );
  return h(
    "li",
    h(
      "div.text-top",
      h(
        "h3",
        h("span.note", `${rank + 1}. `),
        h("a", {href: `${where}/text/${entry.text}`}, text.text),
        text.property && h("span.tag", text.property),
      ),
      bar(entry.gain, first, part(entry.gain, first), false),
    ),
    h(
      "div.sides",
      entry.most.length
        ? h(
            "div",
            h("h4", "answers most"),
            h(
              "ul.row",
              entry.most.map((one, i) => shown(one, i, true)),
            ),
          )
        : null,
      entry.least.length
        ? h(
            "div",
            h("h4", "answers least"),
            h(
              "ul.row",
              entry.least.map((one, i) => shown(one, i, false)),
            ),
          )
        : null,
    ),
  );
}
