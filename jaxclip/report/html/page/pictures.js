/** Pictures, maps over them, and the keys of their colours. */

import {css, diverging, mix} from "./colour.js";
import {h, safe} from "./elements.js";
import {largest} from "./numbers.js";

/** @typedef {import("./run.js").Run} Run */
/** @typedef {import("./run.js").Image} Image */
/** @typedef {import("./run.js").Packed} Packed */

/**
 * Read numbers that `jaxclip.report.html.packing.packed` wrote.
 * @param {Packed} packed
 * @returns {Float32Array}
 */
export function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed.bytes ?? packed.pairs), (c) => c.charCodeAt(0));
  return Float32Array.from(
    packed.bytes === undefined ? new Int16Array(bytes.buffer) : new Int8Array(bytes.buffer),
    (x) => x * packed.scale,
  );
}

/**
 * Draw the key of a colour.
 * @param {(t: number) => number[]} colour
 * @param {string} low
 * @param {string | null} middle
 * @param {string} high
 */
export function ramp(colour, low, middle, high) {
  const steps = Array.from({length: 25}, (_, i) => h("span", {style: {background: css(colour(i / 24))}}));
  return h("span.key", low, h("span.ramp", {"aria-hidden": "true"}, steps), high, middle && h("span", middle));
}

/**
 * Draw the key of maps over pictures.
 * @param {string} low
 * @param {string} high
 */
export function overRamp(low, high) {
  const steps = Array.from({length: 25}, (_, i) => {
    const t = i / 12 - 1;
    return h("span", {style: {background: css([...over(t)])}});
  });
  return h("span.key", low, h("span.ramp.over", {"aria-hidden": "true"}, steps), high);
}

/**
 * Colour a map over a picture: 0 is transparent, so the picture shows through.
 * @param {number} t -1 to 1
 */
function over(t) {
  const [r, g, b] = diverging(Math.sign(t), true);
  return [r, g, b, "/", (0.86 * Math.min(1, Math.abs(t)) ** 0.8).toFixed(3)];
}

/**
 * Draw a picture, and over it where a text is spoken for (orange) or against (blue).
 * @param {Run} run
 * @param {number} index
 * @param {{map?: Float32Array | null, limit?: number, alt?: string, lazy?: boolean}} options
 */
export function picture(run, index, {map = null, limit = 0, alt = "", lazy = true} = {}) {
  const image = run.images[index],
    [rows, columns] = run.grid;
  const frame = h(
    "span",
    {class: map ? "frame mapped" : "frame", style: {"aspect-ratio": `${columns} / ${rows}`}},
    h("img", {
      src: safe(image.picture),
      alt: alt || describe(image),
      loading: lazy ? "lazy" : "eager",
      decoding: "async",
    }),
  );
  if (map) frame.append(heat(map, limit || largest(map), run.grid, over));
  return frame;
}

/**
 * Draw a map. Values between the centres of patches are bilinear, as in the library's own overlays. Every pixel
 * is set here: what a browser would enlarge by itself shows squares on paper.
 * @param {Float32Array} map
 * @param {number} limit what the strongest colour is worth
 * @param {number[]} grid its rows and columns
 * @param {(t: number) => any[]} colour
 */
export function heat(map, limit, [rows, columns], colour = (t) => [...diverging(t), "/", 1]) {
  const by = Math.max(1, Math.ceil(128 / Math.max(rows, columns))),
    height = by * rows,
    width = by * columns;
  const canvas = h("canvas", {width, height, role: "img", "aria-label": placed(map, rows, columns)});
  const context = canvas.getContext("2d"),
    pixels = context.createImageData(width, height);
  const shades = Array.from({length: 255}, (_, i) => {
    const [r, g, b, , alpha] = colour((i - 127) / 127);
    return [r, g, b, 255 * alpha];
  });
  const between = (n) =>
    Array.from({length: by * n}, (_, i) => {
      const at = Math.min(n - 1, Math.max(0, (i + 0.5) / by - 0.5)),
        first = Math.floor(at);
      return [first, Math.min(n - 1, first + 1), at - first];
    });
  const across = between(columns);
  between(rows).forEach(([top, bottom, down], y) =>
    across.forEach(([left, right, share], x) => {
      const [upper, lower] = [top, bottom].map((row) =>
        mix(map[row * columns + left], map[row * columns + right], share),
      );
      const t = limit ? Math.min(1, Math.max(-1, mix(upper, lower, down) / limit)) : 0;
      pixels.data.set(shades[Math.round(127 * t) + 127], 4 * (y * width + x));
    }),
  );
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * Say where a map is strongest.
 * @param {Float32Array} map
 * @param {number} rows
 * @param {number} columns
 */
function placed(map, rows, columns) {
  let best = 0;
  map.forEach((value, i) => {
    if (value > map[best]) best = i;
  });
  const name = (at, n, names) => names[Math.min(2, Math.floor((3 * (at + 0.5)) / n))];
  const down = name(Math.floor(best / columns), rows, ["top", "middle", "bottom"]);
  const across = name(best % columns, columns, ["left", "centre", "right"]);
  return `Map, strongest at the ${down} ${across}`;
}

/**
 * Describe an image by its number, name and labels.
 * @param {Image} image
 */
export const describe = (image) =>
  [`image ${image.number}`, image.name, ...Object.entries(image.labels).map(([kind, name]) => `${kind} ${name}`)].join(
    ", ",
  );

/**
 * Average maps, each relative to its strongest patch.
 * @param {Float32Array[]} maps
 */
export function mean(maps) {
  if (!maps.length) return null;
  const sum = new Float32Array(maps[0].length);
  maps.forEach((map) => {
    const most = largest(map) || 1;
    map.forEach((x, i) => {
      sum[i] += x / most / maps.length;
    });
  });
  return sum;
}

/**
 * The address of an image, which has its number: the row in the run's images.jsonl.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {number} index
 */
export const imageAt = (run, where, index) => `${where}/image/${run.images[index].number}`;

/**
 * Draw pictures that lead to their pages.
 * @param {Run} run
 * @param {string} where the run's address
 * @param {number[]} indices
 * @param {boolean} large
 */
export function gallery(run, where, indices, large = false) {
  return h(
    "ul",
    {class: large ? "gallery large" : "gallery"},
    indices.map((i) =>
      h(
        "li",
        h(
          "a",
          {href: imageAt(run, where, i)},
          h(
            "figure",
            picture(run, i),
            h(
              "figcaption",
              {title: `Image ${run.images[i].number}: ${run.images[i].name}`},
              run.images[i].name.split("/").pop(),
            ),
          ),
        ),
      ),
    ),
  );
}
