/* Pieces that pages are made of. Words from data only ever become text nodes or attribute values. */

function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [property, set] of Object.entries(value)) element.style.setProperty(property, set);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const percent = (x, digits = 0) => typeof x !== "number" ? "–" : `${(100 * x).toFixed(digits)}%`;
const share = (x) => percent(x, x < 0.0995 ? 1 : 0);
const plain = (text) => text.replace("-", "−");
const signed = (x) => x === null || x === undefined ? "–" : Math.abs(x) < 0.00005 ? "0" : plain((x > 0 ? "+" : "") + x.toFixed(Math.abs(x) < 0.01 ? 4 : 3));
const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

/* Beside bars: so many decimals that two that differ by a pixel do not say the same. */
const decimals = (limit) => Math.max(0, Math.ceil(Math.log10(BAR / limit)));
const BAR = 200;
const beside = (x, limit) => {
  if (typeof x !== "number" || !limit) return signed(x);
  if (limit < 1e-4) return plain(`${x < 0 ? "-" : x > 0 ? "+" : ""}${power(Math.abs(x), 2)}`);
  const text = x.toFixed(decimals(limit));
  return Number(text) === 0 ? "0" : plain((x > 0 ? "+" : "") + text);
};
const part = (x, limit) => percent(x, limit ? Math.min(6, decimals(100 * limit)) : 1);
const power = (x, more = 0) => {
  const [digits, exponent] = x.toExponential(more).split("e");
  return `${digits} × 10${[...String(Number(exponent))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("")}`;
};
const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.bytes ?? packed.pairs), (c) => c.charCodeAt(0));
  return Float32Array.from(packed.bytes === undefined ? new Int16Array(bytes.buffer) : new Int8Array(bytes.buffer), (x) => x * packed.scale);
}

const largest = (values) => values.reduce((most, x) => Math.max(most, Math.abs(x || 0)), 0);

function bar(value, limit, text, both = true) {
  const part = limit ? Math.min(1, Math.abs(value || 0) / limit) : 0, half = both ? 50 : 100;
  const left = !both ? 0 : value < 0 ? 50 - half * part : 50;
  return h("span", {class: "bar"},
    h("span", {class: "track", "aria-hidden": "true"},
      h("span", {class: !both ? "fill" : value < 0 ? "fill minus" : "fill plus", style: {left: `${left}%`, width: `${half * part}%`}}),
      both && h("span", {class: "zero", style: {left: "50%"}})),
    h("span", {class: "value"}, text));
}

function ramp(colour, low, middle, high) {
  const steps = Array.from({length: 25}, (_, i) => h("span", {style: {background: css(colour(i / 24))}}));
  return h("span", {class: "key"}, low, h("span", {class: "ramp", "aria-hidden": "true"}, steps), high, middle && h("span", null, middle));
}

/* The same for maps over pictures: nothing is nothing, so the picture shows through. */
function overRamp(low, high) {
  const steps = Array.from({length: 25}, (_, i) => { const t = i / 12 - 1; return h("span", {style: {background: css([...over(t)])}}); });
  return h("span", {class: "key"}, low, h("span", {class: "ramp over", "aria-hidden": "true"}, steps), high);
}

function over(t) {
  const [r, g, b] = diverging(Math.sign(t), true);
  return [r, g, b, "/", (0.86 * Math.min(1, Math.abs(t)) ** 0.8).toFixed(3)];
}

/* A picture, and over it where a text is spoken for (orange) or against (blue). */
function picture(run, index, {map = null, limit = 0, alt = "", lazy = true} = {}) {
  const image = run.images[index], [rows, columns] = run.grid;
  const frame = h("span", {class: map ? "frame mapped" : "frame", style: {"aspect-ratio": `${columns} / ${rows}`}},
    h("img", {src: safe(image.picture), alt: alt || describe(image), loading: lazy ? "lazy" : "eager", decoding: "async"}));
  if (map) frame.append(heat(map, limit || largest(map), run.grid, over));
  return frame;
}

const safe = (uri) => /^data:image\/webp;base64,[A-Za-z0-9+/=]*$/.test(uri) ? uri : "";

/* Values between the centres of patches are bilinear, as in the library's own overlays. Every pixel is set here: what a
   browser would enlarge by itself shows squares on paper. */
function heat(map, limit, [rows, columns], colour = (t) => [...diverging(t), "/", 1]) {
  const by = Math.max(1, Math.ceil(128 / Math.max(rows, columns))), height = by * rows, width = by * columns;
  const canvas = h("canvas", {width, height, role: "img", "aria-label": placed(map, rows, columns)});
  const context = canvas.getContext("2d"), pixels = context.createImageData(width, height);
  const shades = Array.from({length: 255}, (_, i) => { const [r, g, b, , alpha] = colour((i - 127) / 127); return [r, g, b, 255 * alpha]; });
  const between = (n) => Array.from({length: by * n}, (_, i) => {
    const at = Math.min(n - 1, Math.max(0, (i + 0.5) / by - 0.5)), first = Math.floor(at);
    return [first, Math.min(n - 1, first + 1), at - first];
  });
  const across = between(columns);
  between(rows).forEach(([top, bottom, down], y) => across.forEach(([left, right, share], x) => {
    const [upper, lower] = [top, bottom].map((row) => mix(map[row * columns + left], map[row * columns + right], share));
    const t = limit ? Math.min(1, Math.max(-1, mix(upper, lower, down) / limit)) : 0;
    pixels.data.set(shades[Math.round(127 * t) + 127], 4 * (y * width + x));
  }));
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function placed(map, rows, columns) {
  let best = 0;
  map.forEach((value, i) => { if (value > map[best]) best = i; });
  const name = (at, n, names) => names[Math.min(2, Math.floor(3 * (at + 0.5) / n))];
  const where = `${name(Math.floor(best / columns), rows, ["top", "middle", "bottom"])} ${name(best % columns, columns, ["left", "centre", "right"])}`;
  return `Map, strongest at the ${where}`;
}

const describe = (image) => [`image ${image.number}`, image.name, ...Object.entries(image.labels).map(([kind, name]) => `${kind} ${name}`)].join(", ");

/* Cells of more than 12 columns hold no words, those of more than 6 only where there is room for them. */
const gridOf = (columns) => (columns > 12 ? "grid fine" : columns > 6 ? "grid many" : "grid");

/* Layers by heads; `cell(layer, head)` gives {colour, text, label}, `mlp(layer)` the same or nothing. */
function grid(run, where, caption, cell, mlp, choose) {
  const fine = run.heads > 12, paint = (found) => ({background: css(found.colour), color: inkOn(found.colour)});
  const link = (layer, head) => {
    const found = cell(layer, head);
    return h("td", null, h("a", {
      href: `${where}/head/${layer}/${head}`, style: paint(found), "data-at": `${layer},${head}`, tabindex: layer || head ? "-1" : "0",
      "aria-label": `Layer ${layer}, head ${head}: ${found.label}`, onfocus: () => choose?.(layer, head), onmouseenter: () => choose?.(layer, head),
    }, fine ? "" : found.text));
  };
  const other = (layer) => {
    const found = mlp(layer);
    return [h("td", {class: "gap"}), h("td", null, h("span", {class: "cell", style: paint(found), title: found.label}, h("span", {class: "visually-hidden"}, found.label), h("span", {"aria-hidden": "true"}, fine ? "" : found.text)))];
  };
  const heads = Array.from({length: run.heads}, (_, i) => i), layers = Array.from({length: run.layers}, (_, i) => i);
  const table = h("table", {class: gridOf(run.heads)},
    h("caption", {class: "visually-hidden"}, caption),
    h("colgroup", null, h("col", {class: "names"})),
    h("thead", null, h("tr", null, h("td", {class: "note"}, fine ? "" : "layer"), heads.map((head) => h("th", {scope: "col"}, h("span", {class: fine ? "visually-hidden" : "wordy"}, "head "), String(head))), mlp && [h("td", {class: "gap"}), h("th", {scope: "col"}, "MLP")])),
    h("tbody", null, layers.map((layer) => h("tr", null, h("th", {scope: "row"}, h("span", {class: "visually-hidden"}, "layer "), String(layer)), heads.map((head) => link(layer, head)), mlp && other(layer)))));
  table.addEventListener("keydown", (event) => {
    const step = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    const at = event.target.dataset?.at?.split(",").map(Number);
    if (!step || !at || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = table.querySelector(`[data-at="${at[0] + step[0]},${at[1] + step[1]}"]`);
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  return h("div", {class: "scroll cells"}, table);
}

/* One of several, as radio buttons. */
function choice(name, legend, options, current, changed) {
  return h("fieldset", {class: "choice"}, h("legend", null, legend), options.map(([value, label]) =>
    h("label", null, h("input", {type: "radio", name, value, checked: value === current, onchange: () => changed(value)}), label)));
}

function select(label, options, current, changed) {
  const box = h("select", {onchange: (event) => changed(event.target.value)}, options.map(([value, text]) => h("option", {value, selected: String(value) === String(current)}, text)));
  return h("label", null, h("span", {class: "note"}, `${label} `), box);
}

function table(caption, columns, rows, name = "wide") {
  return h("div", {class: "scroll"}, h("table", {class: name}, caption && h("caption", null, caption),
    h("thead", null, h("tr", null, columns.map((column) => h("th", {scope: "col", class: column.number && "number"}, column.name)))),
    h("tbody", null, rows.map((row) => h("tr", null, row.map((cell, i) => i ? h("td", {class: columns[i].number && "number"}, cell) : h("th", {scope: "row", class: columns[i].number && "number"}, cell)))))));
}

/* What attention and MLP of every layer say about something: numbers with bars. */
function layerBars(caption, heads, mlp, init) {
  const attention = heads.map((row) => row.reduce((sum, x) => sum + (x || 0), 0));
  const limit = largest([...attention, ...mlp, init || 0]);
  const row = (name, a, m) => h("tr", null, h("th", {scope: "row"}, name), h("td", null, a === null ? "" : bar(a, limit, beside(a, limit))), h("td", null, m === null ? "" : bar(m, limit, beside(m, limit))));
  return h("div", {class: "scroll"}, h("table", {class: "bars"}, h("caption", null, caption),
    h("thead", null, h("tr", null, h("th", {scope: "col"}, "Layer"), h("th", {scope: "col"}, "Attention, all heads"), h("th", {scope: "col"}, "MLP"))),
    h("tbody", null, init !== null && init !== undefined && row("Input", init, null), attention.map((a, layer) => row(String(layer), a, mlp[layer])))));
}
