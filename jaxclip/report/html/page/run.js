/** What pages ask of a run; `jaxclip.report.html.run_data.collect` writes one. */

/**
 * @typedef {{bytes?: string, pairs?: string, scale: number}} Packed
 * @typedef {{image: number, value: number, map: Packed}} Example
 * @typedef {{text: number, gain: number, most: Example[], least: Example[]}} Entry
 * @typedef {{basis: Entry[], shares: number[]}} Page
 * @typedef {{number: number, name: string, labels: Object<string, string>, picture: string, page: any}} Image
 * @typedef {object} Question
 * @property {string} name
 * @property {string[]} texts
 * @property {boolean} known whether labels say which text is right
 * @property {number} n images with a label
 * @property {number | null} accuracy
 * @property {number[][]} heads
 * @property {number[]} mlp
 * @property {number} init
 * @typedef {object} Run
 * @property {string} name
 * @property {string} model
 * @property {string} units
 * @property {number} layers
 * @property {number} heads
 * @property {number[]} grid rows and columns of patches
 * @property {number} ranked images that examples are chosen from
 * @property {number} n_images
 * @property {{rows: [string, string][], chosen: any[], check: any}} card
 * @property {string[]} properties
 * @property {{text: string, property: string | null}[]} texts
 * @property {{heads: number[][], mlp: number[], init: number}} variance
 * @property {Question[]} questions
 * @property {Page[][]} pages a head each
 * @property {Image[]} images
 */

/**
 * List a head's texts.
 * @param {Run} run
 * @param {number} layer
 * @param {number} head
 */
export const names = (run, layer, head) => run.pages[layer][head].basis.map((entry) => run.texts[entry.text].text);

/**
 * Find what most of a head's texts are about; null where they are about nothing named.
 * @param {Run} run
 * @param {number} layer
 * @param {number} head
 */
export const property = (run, layer, head) => {
  const shares = run.pages[layer][head].shares,
    whole = shares.reduce((sum, x) => sum + x, 0);
  const best = shares.reduce((top, x, i) => (x > shares[top] ? i : top), 0);
  return whole > 0 ? {index: best, share: shares[best] / whole, name: run.properties[best]} : null;
};

/**
 * Order properties by how much of the heads' variance they hold: the first ones get the colours.
 * @param {Run} run
 * @returns {number[]}
 */
export function ranked(run) {
  const held = run.properties.map(() => 0);
  run.pages.forEach((row, layer) =>
    row.forEach((page, head) =>
      page.shares.forEach((x, i) => {
        held[i] += x * (run.variance.heads[layer][head] || 0);
      }),
    ),
  );
  return held
    .map((x, i) => [x, i])
    .sort((a, b) => b[0] - a[0])
    .map(([, i]) => i);
}

/**
 * Find the heads with the largest mean direct effects: layer, head and effect each.
 * @param {Question} question
 * @param {number} n
 */
export function strongest(question, n = 3) {
  return question.heads
    .flatMap((row, l) => row.map((x, i) => [l, i, x]))
    .sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]))
    .slice(0, n);
}

/**
 * Say what the bar of a head's text and the numbers under its pictures are.
 * @param {Run} run
 */
export const reading = (run) =>
  "The bar: how much more of the head’s variance is explained with the text. Under a picture: the head’s direct " +
  `effect on the text, in ${run.units}, minus the mean over images.`;

/**
 * Find a text among all questions' texts, one question after another.
 * @param {Run} run
 * @param {number} place
 * @returns {[number, number]} the question and its text
 */
export function located(run, place) {
  for (const [i, question] of run.questions.entries()) {
    if (place < question.texts.length) return [i, place];
    place -= question.texts.length;
  }
  return [0, 0];
}

/**
 * List the heads that an image is an example for, those of most variance first.
 * @param {Run} run
 * @param {number} index
 */
export function examplesOf(run, index) {
  const found = [];
  run.pages.forEach((row, l) =>
    row.forEach((page, i) =>
      page.basis.forEach((entry) =>
        ["most", "least"].forEach((side) => {
          const one = entry[side].find((example) => example.image === index);
          if (one) found.push([l, i, entry, side, (run.variance.heads[l][i] || 0) * (entry.gain || 0)]);
        }),
      ),
    ),
  );
  return found.sort((a, b) => b[4] - a[4]);
}

/**
 * List the heads that have a text in their basis, those that it explains most of first.
 * @param {Run} run
 * @param {number} text
 * @returns {[number, number, Entry][]} layer, head and its entry
 */
export function headsOf(run, text) {
  /** @type {[number, number, Entry][]} */
  const found = [];
  run.pages.forEach((row, l) =>
    row.forEach((page, i) => page.basis.filter((one) => one.text === text).forEach((one) => found.push([l, i, one]))),
  );
  const explained = ([l, i, entry]) => entry.gain * run.variance.heads[l][i];
  return found.sort((a, b) => explained(b) - explained(a));
}
