/** Numbers as words: percentages, signs, powers of ten, counts. */

/**
 * Write a share as a percentage; a dash where there is none.
 * @param {number | null | undefined} x
 * @param {number} digits after the point
 */
export const percent = (x, digits = 0) => (typeof x !== "number" ? "–" : `${(100 * x).toFixed(digits)}%`);

/**
 * Write a share as a percentage, with a decimal below 10%.
 * @param {number | null} x
 */
export const share = (x) => percent(x, x < 0.0995 ? 1 : 0);

/**
 * Write a minus sign where there is a hyphen.
 * @param {string} text
 */
export const plain = (text) => text.replace("-", "−");

/**
 * Write a number with its sign; a dash where there is none.
 * @param {number | null | undefined} x
 */
export const signed = (x) =>
  x === null || x === undefined
    ? "–"
    : Math.abs(x) < 0.00005
      ? "0"
      : plain((x > 0 ? "+" : "") + x.toFixed(Math.abs(x) < 0.01 ? 4 : 3));

/**
 * Count things, in the singular for one.
 * @param {number} n
 * @param {string} word
 */
export const count = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;

/**
 * Choose so many decimals that two numbers whose bars differ by a pixel do not read the same.
 * @param {number} limit what the longest bar is worth
 */
const decimals = (limit) => Math.max(0, Math.ceil(Math.log10(BAR / limit)));

const BAR = 200;

/**
 * Write a signed number beside its bar.
 * @param {number | null} x
 * @param {number} limit what the longest bar is worth
 */
export const beside = (x, limit) => {
  if (typeof x !== "number" || !limit) return signed(x);
  if (limit < 1e-4) return plain(`${x < 0 ? "-" : x > 0 ? "+" : ""}${power(Math.abs(x), 2)}`);
  const text = x.toFixed(decimals(limit));
  return Number(text) === 0 ? "0" : plain((x > 0 ? "+" : "") + text);
};

/**
 * Write a share beside its bar.
 * @param {number | null} x
 * @param {number} limit what the longest bar is worth
 */
export const part = (x, limit) => percent(x, limit ? Math.min(6, decimals(100 * limit)) : 1);

/**
 * Write a number as digits times a power of ten.
 * @param {number} x
 * @param {number} more digits after the point
 */
export const power = (x, more = 0) => {
  const [digits, exponent] = x.toExponential(more).split("e");
  const raised = [...String(Number(exponent))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));
  return `${digits} × 10${raised.join("")}`;
};

/**
 * Begin with a capital letter.
 * @param {string} words
 */
export const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1);

/**
 * Find the largest magnitude; 0 of none.
 * @param {ArrayLike<number | null>} values
 */
export const largest = (values) => Array.from(values).reduce((most, x) => Math.max(most, Math.abs(x || 0)), 0);
