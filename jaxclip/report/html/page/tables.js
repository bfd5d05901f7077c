/** Anything in JSON as tables. */

import {cellOf, isNumbers, isPlain, isRecord, worded} from "./cells.js";
import {css, diverging, inkOn, sequential} from "./colour.js";
import {h, table} from "./elements.js";
import {gridOf} from "./grids.js";
import {largest} from "./numbers.js";

/**
 * Draw records as rows, their keys as columns.
 * @param {any[]} rows
 * @param {string | null} first the name of a column in front
 * @param {string[]} names_ what it holds
 */
function records(rows, first = null, names_ = []) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].slice(0, 14);
  const numeric = (key) => rows.every((row) => isPlain(row[key]) && typeof row[key] !== "string");
  return table(
    null,
    [...(first !== null ? [{name: first}] : []), ...columns.map((key) => ({name: worded(key), number: numeric(key)}))],
    rows.map((row, i) => [...(first !== null ? [names_[i]] : []), ...columns.map((key) => cellOf(row[key], key))]),
  );
}

/**
 * Draw numbers as a grid of colours.
 * @param {(number | null)[][]} rows
 * @param {string} key
 */
function matrix(rows, key) {
  const all = rows.flat().filter((x) => x !== null),
    limit = largest(all),
    both = all.some((x) => x < 0),
    least = both ? 0 : Math.min(...all);
  return h(
    "div.scroll.cells",
    h(
      "table",
      {class: gridOf(rows[0].length)},
      h("caption.visually-hidden", worded(key)),
      h("colgroup", h("col.names")),
      h(
        "tbody",
        rows.map((row, i) =>
          h(
            "tr",
            h("th", {scope: "row"}, String(i)),
            row.map((x) => {
              const colour = both ? diverging(x / limit) : sequential((x - least) / (limit - least || 1));
              return h(
                "td",
                h(
                  "span.cell",
                  {style: {background: css(colour), color: inkOn(colour)}, title: cellOf(x, key)},
                  row.length > 12 ? "" : cellOf(x, key),
                ),
              );
            }),
          ),
        ),
      ),
    ),
  );
}

/**
 * Whether a list can be written in a line.
 * @param {any} value
 */
const isShort = (value) =>
  Array.isArray(value) &&
  (value.length < 3 ? value.every(isPlain) : value.length <= 12 && value.every((x) => typeof x === "string"));

/**
 * Draw lists of one length as the columns of one table.
 * @param {[string, any][]} entries
 * @returns {[any[], [string, any][]]} those tables, and the entries that are left
 */
function together(entries) {
  const lists = entries.filter(([, x]) => Array.isArray(x) && x.length > 2 && x.every(isPlain)),
    lengths = lists.map(([, x]) => x.length);
  const groups = [...new Set(lengths)]
    .map((n) => lists.filter(([, x]) => x.length === n))
    .filter((group) => group.length > 1);
  const shown = groups.map((group) =>
    records(
      group[0][1].map((_, i) => Object.fromEntries(group.map(([name, x]) => [name, x[i]]))),
      "",
      group[0][1].map((_, i) => String(i + 1)),
    ),
  );
  return [shown, entries.filter((entry) => !groups.flat().includes(entry))];
}

/**
 * Draw any value.
 * @param {string | null} key
 * @param {any} value
 * @param {number} depth of its heading
 * @returns {any[]}
 */
export function nested(key, value, depth) {
  const title = key === null ? null : h(depth < 2 ? "h3" : "h4", null, worded(key));
  if (isNumbers(value) && value.length > 2)
    return [
      title,
      table(null, value.map((_, i) => ({name: String(i), number: true})).slice(0, 40), [
        value.slice(0, 40).map((x) => cellOf(x, key)),
      ]),
    ];
  if (Array.isArray(value)) {
    if (
      value.length &&
      value.every(isNumbers) &&
      value.every((row) => row.length === value[0].length && row.length > 1)
    )
      return [title, matrix(value, key)];
    if (value.length && value.every(isRecord))
      return [
        title,
        records(value.slice(0, 60)),
        value.length > 60 && h("p", {class: "note"}, `The first 60 of ${value.length}.`),
      ];
    return [title, h("p", cellOf(value, key))];
  }
  const entries = Object.entries(value),
    flat = entries.filter(([, x]) => isPlain(x) || isShort(x)),
    deep = entries.filter(([, x]) => !isPlain(x) && !isShort(x));
  if (!flat.length && deep.length > 1 && deep.every(([, x]) => isRecord(x) && Object.values(x).some(isPlain))) {
    const deeper = deep
      .map(([name, x]) => [name, Object.fromEntries(Object.entries(x).filter(([, y]) => !isPlain(y)))])
      .filter(([, x]) => Object.keys(x).length);
    return [
      title,
      records(
        deep.map(([, x]) => Object.fromEntries(Object.entries(x).filter(([, y]) => isPlain(y)))),
        worded(key ?? "name"),
        deep.map(([name]) => name),
      ),
      deeper.length > 0 &&
        h(
          "details",
          h("summary", "Everything else"),
          h(
            "div.nested",
            deeper.map(([name, x]) => nested(String(name), x, 1)),
          ),
        ),
    ];
  }
  const [lists, rest] = together(deep);
  const inner = [
    flat.length
      ? h(
          "table",
          h(
            "tbody",
            flat.map(([name, x]) => h("tr", h("th", {scope: "row"}, worded(name)), h("td", cellOf(x, name)))),
          ),
        )
      : null,
    lists,
    rest.slice(0, 40).map(([name, x]) => nested(name, x, depth + 1)),
  ];
  return depth > 1
    ? [
        title,
        h(
          "details",
          h("summary", entries.length === 1 ? "1 entry" : `${entries.length} entries`),
          h("div.nested", inner),
        ),
      ]
    : [title, inner];
}
