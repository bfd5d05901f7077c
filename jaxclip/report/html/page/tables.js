/* Anything in JSON as tables: whatever its keys, numbers stand in rows. */
const isPlain = (value) => value === null || typeof value !== "object";
const isRecord = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isNumbers = (value) => Array.isArray(value) && value.length > 0 && value.every((x) => typeof x === "number" || x === null);
const NAMES = {n_images: "Images", n_texts: "Texts", weighted: "Mean weighted by training groups", overall: "Mean over these images", mlps_and_input: "All MLPs and the input ablated", mlps_alone: "All MLPs alone ablated", mlps: "All MLPs and the input ablated", class_attn: "Class token’s self-attention ablated", both: "MLPs, input and self-attention ablated", attention_layers: "Attention layers ablated, from the first", mlps_kept: "MLPs kept", mlps_and_input_ablated: "MLPs and input ablated", mlps_ablated: "MLPs and input ablated", accuracy_without_each_head: "Accuracy without each head, a row a layer"};
const worded = (key) => NAMES[key] || sentence(String(key).replace(/_/g, " "));
function cellOf(value, key = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") {
    const part = /accuracy|weighted|overall|worst_group|precision|recall|iou|share|chance|explained|^mlps|^class_attn$|^both$|^attention_layers$|intact/i.test(key) || (/score|size|basis|variance/i.test(key) && !Number.isInteger(value));
    if (part && Math.abs(value) <= 1) return percent(value, 1);
    return plain(Number.isInteger(value) ? value.toLocaleString("en") : Math.abs(value) >= 0.001 || !value ? String(Number(value.toPrecision(4))) : power(value, 1));
  }
  if (Array.isArray(value)) return !value.length ? "–" : value.length > 24 ? `${value.length} values` : value.map((x) => cellOf(x, key)).join(", ");
  if (isRecord(value)) return Object.entries(value).map(([name, x]) => `${name}: ${cellOf(x, name)}`).join(", ");
  return String(value);
}

function records(rows, first = null, names_ = []) {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))].slice(0, 14);
  const numeric = (key) => rows.every((row) => isPlain(row[key]) && typeof row[key] !== "string");
  return table(null, [...(first !== null ? [{name: first}] : []), ...columns.map((key) => ({name: worded(key), number: numeric(key)}))], rows.map((row, i) => [...(first !== null ? [names_[i]] : []), ...columns.map((key) => cellOf(row[key], key))]));
}

function matrix(rows, key) {
  const all = rows.flat().filter((x) => x !== null), limit = largest(all), both = all.some((x) => x < 0), least = both ? 0 : Math.min(...all);
  return h("div", {class: "scroll cells"}, h("table", {class: gridOf(rows[0].length)}, h("caption", {class: "visually-hidden"}, worded(key)), h("colgroup", null, h("col", {class: "names"})), h("tbody", null, rows.map((row, i) => h("tr", null, h("th", {scope: "row"}, String(i)), row.map((x) => {
    const colour = both ? diverging(x / limit) : sequential((x - least) / (limit - least || 1));
    return h("td", null, h("span", {class: "cell", style: {background: css(colour), color: inkOn(colour)}, title: cellOf(x, key)}, row.length > 12 ? "" : cellOf(x, key)));
  }))))));
}

const isShort = (value) => Array.isArray(value) && (value.length < 3 ? value.every(isPlain) : value.length <= 12 && value.every((x) => typeof x === "string"));

/* Lists of one length that stand together are the columns of one table: [those tables, what is left]. */
function together(entries) {
  const lists = entries.filter(([, x]) => Array.isArray(x) && x.length > 2 && x.every(isPlain)), lengths = lists.map(([, x]) => x.length);
  const groups = [...new Set(lengths)].map((n) => lists.filter(([, x]) => x.length === n)).filter((group) => group.length > 1);
  const shown = groups.map((group) => records(group[0][1].map((_, i) => Object.fromEntries(group.map(([name, x]) => [name, x[i]]))), "", group[0][1].map((_, i) => String(i + 1))));
  return [shown, entries.filter((entry) => !groups.flat().includes(entry))];
}

function nested(key, value, depth) {
  const title = key === null ? null : h(depth < 2 ? "h3" : "h4", null, worded(key));
  if (isNumbers(value) && value.length > 2) return [title, table(null, value.map((_, i) => ({name: String(i), number: true})).slice(0, 40), [value.slice(0, 40).map((x) => cellOf(x, key))])];
  if (Array.isArray(value)) {
    if (value.length && value.every(isNumbers) && value.every((row) => row.length === value[0].length && row.length > 1)) return [title, matrix(value, key)];
    if (value.length && value.every(isRecord)) return [title, records(value.slice(0, 60)), value.length > 60 && h("p", { class: "note" }, `The first 60 of ${value.length}.`)];
    return [title, h("p", null, cellOf(value, key))];
  }
  const entries = Object.entries(value), flat = entries.filter(([, x]) => isPlain(x) || isShort(x)), deep = entries.filter(([, x]) => !isPlain(x) && !isShort(x));
  if (!flat.length && deep.length > 1 && deep.every(([, x]) => isRecord(x) && Object.values(x).some(isPlain))) {
    const deeper = deep.map(([name, x]) => [name, Object.fromEntries(Object.entries(x).filter(([, y]) => !isPlain(y)))]).filter(([, x]) => Object.keys(x).length);
    return [title, records(deep.map(([, x]) => Object.fromEntries(Object.entries(x).filter(([, y]) => isPlain(y)))), worded(key ?? "name"), deep.map(([name]) => name)),
      deeper.length > 0 && h("details", null, h("summary", null, "Everything else"), h("div", {class: "nested"}, deeper.map(([name, x]) => nested(name, x, 1))))];
  }
  const [lists, rest] = together(deep);
  const inner = [flat.length ? h("table", null, h("tbody", null, flat.map(([name, x]) => h("tr", null, h("th", {scope: "row"}, worded(name)), h("td", null, cellOf(x, name)))))) : null,
    lists, rest.slice(0, 40).map(([name, x]) => nested(name, x, depth + 1))];
  return depth > 1 ? [title, h("details", null, h("summary", null, entries.length === 1 ? "1 entry" : `${entries.length} entries`), h("div", {class: "nested"}, inner))] : [title, inner];
}
