/** Words for any key and any value in JSON. */

import {percent, plain, power, sentence} from "./numbers.js";

/**
 * Whether a value has no parts.
 * @param {any} value
 */
export const isPlain = (value) => value === null || typeof value !== "object";

/**
 * Whether a value has keys.
 * @param {any} value
 */
export const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/**
 * Whether a value is a list of numbers.
 * @param {any} value
 */
export const isNumbers = (value) =>
  Array.isArray(value) && value.length > 0 && value.every((x) => typeof x === "number" || x === null);

const NAMES = {
  n_images: "Images",
  n_texts: "Texts",
  weighted: "Mean weighted by training groups",
  overall: "Mean over these images",
  mlps_and_input: "All MLPs and the input ablated",
  mlps_alone: "All MLPs alone ablated",
  mlps: "All MLPs and the input ablated",
  class_attn: "Class token’s self-attention ablated",
  both: "MLPs, input and self-attention ablated",
  attention_layers: "Attention layers ablated, from the first",
  mlps_kept: "MLPs kept",
  mlps_and_input_ablated: "MLPs and input ablated",
  mlps_ablated: "MLPs and input ablated",
  accuracy_without_each_head: "Accuracy without each head, a row a layer",
};

/* Numbers under these keys are parts of a whole, if they are at most 1. */
const SHARES = new RegExp(
  "accuracy|weighted|overall|worst_group|precision|recall|iou|share|chance|explained|intact|" +
    "^mlps|^class_attn$|^both$|^attention_layers$",
  "i",
);

/**
 * Write a key as words.
 * @param {string} key
 */
export const worded = (key) => NAMES[key] || sentence(String(key).replace(/_/g, " "));

/**
 * Write a value as words; its key says whether a number is a share.
 * @param {any} value
 * @param {string} key
 * @returns {string}
 */
export function cellOf(value, key = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    const part = SHARES.test(key) || (/score|size|basis|variance/i.test(key) && !Number.isInteger(value));
    if (part && Math.abs(value) <= 1) return percent(value, 1);
    return plain(
      Number.isInteger(value)
        ? value.toLocaleString("en")
        : Math.abs(value) >= 0.001 || !value
          ? String(Number(value.toPrecision(4)))
          : power(value, 1),
    );
  }
  if (Array.isArray(value))
    return !value.length
      ? "–"
      : value.length > 24
        ? `${value.length} values`
        : value.map((x) => cellOf(x, key)).join(", ");
  if (isRecord(value))
    return Object.entries(value)
      .map(([name, x]) => `${name}: ${cellOf(x, name)}`)
      .join(", ");
  return String(value);
}
