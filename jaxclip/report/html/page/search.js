/** Texts, heads and images that have all words of a query. */

import {h} from "./elements.js";
import {count} from "./numbers.js";
import {describe, gallery} from "./pictures.js";
import {names, property} from "./run.js";

/** @typedef {import("./run.js").Run} Run */

/**
 * Find what has all words of a query.
 * @param {Run} run
 * @param {string} query
 */
function found(run, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  // The beginning of a word, so that red does not find checkered; anywhere in scripts that do not part their words.
  const starts = (line, word) =>
    /^[\w.]+$/.test(word) ? line.split(/[^\p{L}\p{N}.]+/u).some((one) => one.startsWith(word)) : line.includes(word);
  const all = (line) => words.every((word) => starts(line.toLowerCase(), word));
  const heads = run.pages
    .flatMap((row, l) => row.map((_, i) => [l, i]))
    .filter(([l, i]) =>
      all(`${l}.${i} layer ${l} head ${i}, ${property(run, l, i)?.name || ""} ${names(run, l, i).join(" · ")}`),
    );
  return {
    texts: [...run.texts.keys()].filter((i) => all(`${run.texts[i].text} ${run.texts[i].property || ""}`)),
    heads,
    images: [...run.images.keys()].filter((i) => all(describe(run.images[i]))),
  };
}

/**
 * The page of a search.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {string} query
 */
export function searchPage(run, where, query) {
  const {texts, heads, images} = found(run, query),
    n = texts.length + heads.length + images.length;
  const counts = [count(texts.length, "text"), count(heads.length, "head"), count(images.length, "image")].join(", ");
  const part = (title, items, list) =>
    items.length ? h("section", h("h2", `${title} `, h("span.tag", String(items.length))), list) : null;
  return {
    title: `Search: ${query}`,
    status: `${counts} for ${query}`,
    body: [
      h("h1", {tabindex: "-1"}, `“${query}”`),
      h("p.lede", n ? `${counts}.` : "Nothing has all of these words; try fewer."),
      part(
        "Texts",
        texts,
        h(
          "ul.plain",
          texts
            .slice(0, 60)
            .map((i) =>
              h(
                "li",
                h("a", {href: `${where}/text/${i}`}, run.texts[i].text),
                run.texts[i].property && h("span.tag", run.texts[i].property),
              ),
            ),
        ),
      ),
      part(
        "Heads",
        heads,
        h(
          "ul.plain",
          heads
            .slice(0, 60)
            .map(([l, i]) =>
              h(
                "li",
                h("a", {href: `${where}/head/${l}/${i}`}, `Layer ${l}, head ${i}`),
                h("span.note", ` ${names(run, l, i).slice(0, 4).join(" · ")}`),
              ),
            ),
        ),
      ),
      part("Images", images, gallery(run, where, images.slice(0, 60))),
    ],
  };
}
