/** The list of images, and the page of one with its maps and the heads that speak in it. */

import {bar, h, missing, select} from "./elements.js";
import {layerBars} from "./grids.js";
import {beside, count, largest, signed} from "./numbers.js";
import {describe, gallery, imageAt, overRamp, picture, unpack} from "./pictures.js";
import {examplesOf, located, property} from "./run.js";
import {state} from "./state.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Image} Image */

/**
 * The page that lists images.
 * @param {Run} run
 * @param {string} where the run's address
 */
export function imageList(run, where) {
  const all = run.images.map((_, i) => i),
    full = all.filter((i) => run.images[i].page),
    others = all.filter((i) => !run.images[i].page);
  return {
    title: "Images",
    body: [
      h("h1", {tabindex: "-1"}, "Images"),
      h("p.lede", "With maps of every text and every head’s part in it."),
      gallery(run, where, full, true),
      others.length
        ? h(
            "section",
            h("h2", "Examples of heads"),
            h("p.note", `${others.length} more of the ${count(run.ranked, "image")} that heads were asked about.`),
            gallery(run, where, others),
          )
        : null,
    ],
  };
}

/**
 * The page of an image.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {number} number its row in the data
 * @param {(kind?: string) => void} redraw
 */
export function imagePage(run, where, number, redraw) {
  const index = run.images.findIndex((one) => one.number === number),
    image = run.images[index];
  if (!image) return missing(`image ${number}`);
  const labels = Object.entries(image.labels),
    examples = examplesOf(run, index);
  const body = [
    h(
      "div.head-top",
      h("h1", {tabindex: "-1"}, image.name),
      h(
        "p.step",
        index > 0 && h("a", {href: imageAt(run, where, index - 1)}, "← previous"),
        index + 1 < run.images.length && h("a", {href: imageAt(run, where, index + 1)}, "next →"),
      ),
    ),
    h(
      "p.lede",
      `Image ${number} of the data`,
      labels.map(([kind, name]) => ` · ${kind} ${name}`),
    ),
    image.page
      ? explained(run, where, image, index, redraw)
      : h("div", {style: {"max-width": "16rem", "margin-top": "1.4rem"}}, picture(run, index, {lazy: false})),
    examples.length
      ? h(
          "section",
          h("h2", "Heads it is an example for"),
          h(
            "ul.plain",
            examples
              .slice(0, 30)
              .map(([l, i, entry, side]) =>
                h(
                  "li",
                  h("a", {href: `${where}/head/${l}/${i}`}, `Layer ${l}, head ${i}`),
                  ` answers ${side} to “${run.texts[entry.text].text}”`,
                ),
              ),
          ),
        )
      : null,
  ];
  return {title: image.name, body};
}

/**
 * Draw an image with the map of a text, and the heads and layers that speak for it.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {Image} image
 * @param {number} index
 * @param {(kind?: string) => void} redraw
 */
function explained(run, where, image, index, redraw) {
  const page = image.page,
    n = page.texts.length,
    patches = run.grid[0] * run.grid[1],
    size = run.layers * run.heads;
  const places = page.texts.map((place) => located(run, place));
  const order = [...page.scores.keys()].sort((a, b) => page.scores[b] - page.scores[a]);
  const inQuestion = (i) => order.filter((at) => places[at][0] === i);
  const question = inQuestion(state.question).length ? state.question : places[order[0]][0],
    offered = inQuestion(question);
  const at = offered.find((one) => places[one][1] === state.text && state.image === index) ?? offered[0];
  const maps = unpack(page.maps),
    heads = unpack(page.heads),
    mlp = unpack(page.mlp);
  const map = maps.subarray(at * patches, (at + 1) * patches),
    own = heads.subarray(at * size, (at + 1) * size);
  const rows = Array.from({length: run.layers}, (_, l) => [...own.subarray(l * run.heads, (l + 1) * run.heads)]);
  const words = run.questions[question].texts[places[at][1]],
    most = largest(map),
    limit = largest(offered.map((one) => page.scores[one]));
  const top = [...own.keys()].sort((a, b) => Math.abs(own[b]) - Math.abs(own[a])).slice(0, 8);
  const all = run.questions[question].texts.length,
    truth = image.labels[run.questions[question].name];
  const options = h(
    "fieldset.options",
    h(
      "legend",
      `Its ${offered.length < all ? `nearest ${offered.length} of ${all}` : all} texts, by score`,
      h("span.note", `: ${run.units} minus their mean`),
    ),
    offered.map((one) => {
      const text = run.questions[question].texts[places[one][1]];
      return h(
        "label",
        h("input", {
          type: "radio",
          name: "text",
          value: one,
          checked: one === at,
          onchange: () => {
            state.text = places[one][1];
            state.image = index;
            state.question = question;
            redraw("text");
          },
        }),
        h("span", text, run.questions[question].known && text === truth && h("span.tag", "label")),
        bar(page.scores[one], limit, beside(page.scores[one], limit)),
      );
    }),
  );
  return h(
    "div",
    h(
      "div.view",
      h(
        "div.look",
        picture(run, index, {map, limit: most, alt: `${describe(image)}, with the map of ${words}`, lazy: false}),
        h("div.legend", overRamp(signed(-most), signed(most))),
        h(
          "p.note",
          `What attention at each patch adds to “${words}”, in ${run.units} minus the mean of the question’s texts.`,
        ),
        h("details", h("summary", "The picture alone"), picture(run, index)),
      ),
      h(
        "div",
        run.questions.length > 1 &&
          h(
            "div.controls",
            select(
              "Question",
              /** @type {[any, string][]} */ (run.questions.map((one, i) => [i, one.name])).filter(
                ([i]) => inQuestion(i).length,
              ),
              question,
              (value) => {
                state.question = Number(value);
                state.image = null;
                redraw("select");
              },
            ),
          ),
        options,
      ),
    ),
    h(
      "div.columns",
      h(
        "section",
        h("h2", "Strongest heads"),
        h(
          "div.scroll",
          h(
            "table.bars.named",
            h("caption", `On “${words}”`),
            h(
              "tbody",
              top.map((i) => {
                const l = Math.floor(i / run.heads),
                  head = i % run.heads;
                return h(
                  "tr",
                  h(
                    "th",
                    {scope: "row"},
                    h("a", {href: `${where}/head/${l}/${head}`}, `${l}.${head}`),
                    " ",
                    h("span.note", property(run, l, head)?.name || ""),
                  ),
                  h("td", bar(own[i], Math.abs(own[top[0]]), beside(own[i], Math.abs(own[top[0]])))),
                );
              }),
            ),
          ),
        ),
      ),
      h(
        "section",
        h("h2", "By layer"),
        layerBars(
          `On “${words}”: ${signed(page.scores[at])} in all`,
          rows,
          [...mlp.subarray(at * run.layers, (at + 1) * run.layers)],
          page.init[at],
        ),
      ),
    ),
  );
}
