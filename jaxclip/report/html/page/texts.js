/** The list of texts, and the page of one with the heads that vary along it. */

import {bar, h, missing, table} from "./elements.js";
import {largest, part, percent, sentence, signed} from "./numbers.js";
import {imageAt, picture, unpack} from "./pictures.js";
import {headsOf, ranked, reading} from "./run.js";

/** @typedef {import("./run.js").Run} Run */

/**
 * The page that lists texts by what they are about.
 * @param {Run} run
 * @param {string} where the run's address
 */
export function textList(run, where) {
  const groups = run.properties.length ? ranked(run).map((i) => run.properties[i]) : [null];
  return {
    title: "Texts",
    body: [
      h("h1", {tabindex: "-1"}, "Texts"),
      h(
        "p.lede",
        "What heads were found to say, by what it is about. ",
        "Beside a head: how much more of its variance is explained with the text.",
      ),
      groups.map((name) => {
        const own = [...run.texts.keys()].filter((i) => run.texts[i].property === name);
        return own.length
          ? h(
              "section",
              name && h("h2", sentence(name)),
              table(
                null,
                [{name: "Text"}, {name: "Heads"}],
                own.map((i) => [
                  h("a", {href: `${where}/text/${i}`}, run.texts[i].text),
                  headsOf(run, i).map(([l, head, entry], at) => [
                    at ? ", " : "",
                    h("a", {href: `${where}/head/${l}/${head}`}, `${l}.${head}`),
                    ` ${percent(entry.gain)}`,
                  ]),
                ]),
              ),
            )
          : null;
      }),
    ],
  };
}

/**
 * The page of a text.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {number} index
 */
export function textPage(run, where, index) {
  const text = run.texts[index];
  if (!text) return missing(`text ${index}`);
  return {
    title: text.text,
    body: [
      h("h1", {tabindex: "-1"}, text.text),
      h("p.lede", text.property ? `About ${text.property}. ` : "", "Heads that vary along it:"),
      h("p.note", reading(run)),
      h(
        "ol.texts",
        headsOf(run, index).map(([l, i, entry]) => {
          const maps = entry.most.map((one) => unpack(one.map)),
            limit = Math.max(0, ...maps.map((map) => largest(map)));
          return h(
            "li",
            h(
              "div.text-top",
              h("h2", {style: {margin: "0"}}, h("a", {href: `${where}/head/${l}/${i}`}, `Layer ${l}, head ${i}`)),
              bar(entry.gain, 1, part(entry.gain, 1), false),
            ),
            h(
              "ul.row",
              {style: {"max-width": "34rem", "margin-top": ".6rem"}},
              entry.most.map((one, at) =>
                h(
                  "li",
                  h(
                    "figure",
                    h("a", {href: imageAt(run, where, one.image)}, picture(run, one.image, {map: maps[at], limit})),
                    h("figcaption", signed(one.value)),
                  ),
                ),
              ),
            ),
          );
        }),
      ),
    ],
  };
}
