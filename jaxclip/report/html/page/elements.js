/** Pieces that every page is made of. Words from data only ever become text nodes or attribute values. */

/**
 * Make an element.
 * @param {string} name its tag, and classes behind dots: "p.note"
 * @param {...any} rest attributes as an object, if any; then children: nodes, words, lists of them, or nothing
 *   (null, undefined, false)
 * @returns {any}
 */
export function h(name, ...rest) {
  const [tag, ...classes] = name.split("."),
    attributes = rest[0]?.constructor === Object ? rest.shift() : {};
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style")
      for (const [property, set] of Object.entries(value)) element.style.setProperty(property, set);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...rest.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * Draw a number as a bar, with words beside it.
 * @param {number | null} value
 * @param {number} limit what the longest bar is worth
 * @param {string} text
 * @param {boolean} both whether it has a sign, so that 0 is in the middle
 */
export function bar(value, limit, text, both = true) {
  const part = limit ? Math.min(1, Math.abs(value || 0) / limit) : 0,
    half = both ? 50 : 100;
  const left = !both ? 0 : value < 0 ? 50 - half * part : 50;
  return h(
    "span.bar",
    h(
      "span.track",
      {"aria-hidden": "true"},
      h("span", {
        class: !both ? "fill" : value < 0 ? "fill minus" : "fill plus",
        style: {left: `${left}%`, width: `${half * part}%`},
      }),
      both && h("span.zero", {style: {left: "50%"}}),
    ),
    h("span.value", text),
  );
}

/**
 * Pass a picture that the report holds; anything else that a source could be is dropped.
 * @param {string} uri
 */
export const safe = (uri) => (/^data:image\/webp;base64,[A-Za-z0-9+/=]*$/.test(uri) ? uri : "");

/**
 * Offer one of several as radio buttons.
 * @param {string} name
 * @param {string} legend
 * @param {[string, string][]} options values with their labels
 * @param {string} current
 * @param {(value: string) => void} changed
 */
export function choice(name, legend, options, current, changed) {
  return h(
    "fieldset.choice",
    h("legend", legend),
    options.map(([value, label]) =>
      h(
        "label",
        h("input", {type: "radio", name, value, checked: value === current, onchange: () => changed(value)}),
        label,
      ),
    ),
  );
}

/**
 * Offer one of several as a list that opens.
 * @param {string} label
 * @param {[any, string][]} options values with their words
 * @param {any} current
 * @param {(value: string) => void} changed
 */
export function select(label, options, current, changed) {
  const box = h(
    "select",
    {onchange: (event) => changed(event.target.value)},
    options.map(([value, text]) => h("option", {value, selected: String(value) === String(current)}, text)),
  );
  return h("label", h("span.note", `${label} `), box);
}

/**
 * Draw a table whose first column names its rows.
 * @param {string | null} caption
 * @param {{name: string, number?: boolean}[]} columns
 * @param {any[][]} rows
 * @param {string} name its classes
 */
export function table(caption, columns, rows, name = "wide") {
  return h(
    "div.scroll",
    h(
      "table",
      {class: name},
      caption && h("caption", caption),
      h(
        "thead",
        h(
          "tr",
          columns.map((column) => h("th", {scope: "col", class: column.number && "number"}, column.name)),
        ),
      ),
      h(
        "tbody",
        rows.map((row) =>
          h(
            "tr",
            row.map((cell, i) =>
              i
                ? h("td", {class: columns[i].number && "number"}, cell)
                : h("th", {scope: "row", class: columns[i].number && "number"}, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

/**
 * Draw a fact for a list of facts.
 * @param {string} name
 * @param {any} value
 * @param {string} kind its class
 * @param {string} mark
 */
export const fact = (name, value, kind = "", mark = "") =>
  h("div", h("dt", name), h("dd", {class: kind || null}, value, mark));

/**
 * The page where there is none.
 * @param {string} what
 */
export function missing(what) {
  return {
    title: "Not found",
    body: [
      h("h1", {tabindex: "-1"}, "Not found"),
      h("p", `This report has no ${what}. `, h("a", {href: "#/"}, "Back to the overview")),
    ],
  };
}
