/** Colours even to the eye: lightness runs evenly in OKLab, and no pair is told apart by red and green alone. */

/**
 * Whether the page is dark now.
 * @returns {boolean}
 */
export const dark = () => document.documentElement.dataset.theme === "dark";

/**
 * Convert a colour from OKLCH to sRGB.
 * @param {number} lightness 0 to 1
 * @param {number} chroma
 * @param {number} hue in degrees
 * @returns {number[]} red, green, blue, 0 to 255
 */
function oklch(lightness, chroma, hue) {
  const a = chroma * Math.cos((hue * Math.PI) / 180),
    b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((x) => {
    const y = x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, y)));
  });
}

/**
 * Write a colour as CSS.
 * @param {(number | string)[]} rgb red, green, blue; or those, "/" and alpha
 */
export const css = (rgb) => `rgb(${rgb.join(" ")})`;

/**
 * Interpolate linearly.
 * @param {number} from
 * @param {number} to
 * @param {number} t 0 to 1
 */
export const mix = (from, to, t) => from + (to - from) * t;

/**
 * Colour a share: 0 is the page, 1 the strongest.
 * @param {number} t
 */
export function sequential(t) {
  t = Math.min(1, Math.max(0, t || 0));
  return dark()
    ? oklch(mix(0.27, 0.88, t), mix(0.015, 0.1, t), mix(262, 195, t))
    : oklch(mix(0.96, 0.36, t), mix(0.012, 0.115, t), mix(205, 262, t));
}

/**
 * Colour a signed number: -1 is blue, 0 the page, +1 orange.
 * @param {number} t
 * @param {boolean} night true for maps over pictures, which are the same in light and dark
 */
export function diverging(t, night = dark()) {
  t = Math.min(1, Math.max(-1, t || 0));
  const strength = Math.abs(t),
    hue = t < 0 ? 255 : 48;
  return night
    ? oklch(mix(0.27, 0.75, strength), mix(0.005, 0.155, strength), hue)
    : oklch(mix(0.965, 0.53, strength), mix(0.003, 0.15, strength), hue);
}

/* Hues of one lightness, far ones next to each other. Beyond eight there is grey, and all are named beside. */
const HUES = [250, 55, 160, 340, 95, 200, 20, 300];

/**
 * Colour one of several kinds.
 * @param {number} index
 * @param {number} strength 0 to 1
 */
export function categorical(index, strength = 1) {
  if (index >= HUES.length) return dark() ? oklch(0.45, 0.01, 260) : oklch(0.78, 0.01, 260);
  return dark()
    ? oklch(mix(0.3, 0.72, strength), mix(0.02, 0.12, strength), HUES[index])
    : oklch(mix(0.95, 0.72, strength), mix(0.015, 0.13, strength), HUES[index]);
}

/**
 * Choose black or white, whichever can be read on a colour: where both are equally far, at a luminance of 0.179,
 * each has a contrast of 4.6.
 * @param {number[]} rgb
 */
export function inkOn([r, g, b]) {
  const light = [r, g, b].map((x) => (x / 255 <= 0.04045 ? x / 3294.6 : ((x / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2] > 0.179 ? "#000000" : "#ffffff";
}
