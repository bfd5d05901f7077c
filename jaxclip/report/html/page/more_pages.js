/* Images, texts, search, two runs side by side, and results of other commands. */

/* An image's address has its number: the row in the run's images.jsonl. */
const imageAt = (run, where, index) => `${where}/image/${run.images[index].number}`;

function gallery(run, where, indices, large = false) {
  return h("ul", {class: large ? "gallery large" : "gallery"}, indices.map((i) => h("li", null, h("a", {href: imageAt(run, where, i)}, h("figure", null, picture(run, i), h("figcaption", {title: `Image ${run.images[i].number}: ${run.images[i].name}`}, run.images[i].name.split("/").pop()))))));
}

function imageList(run, where) {
  const all = run.images.map((_, i) => i), full = all.filter((i) => run.images[i].page), others = all.filter((i) => !run.images[i].page);
  return {title: "Images", body: [h("h1", {tabindex: "-1"}, "Images"), h("p", {class: "lede"}, "With maps of every text and every head’s part in it."), gallery(run, where, full, true),
    others.length ? h("section", null, h("h2", null, "Examples of heads"), h("p", {class: "note"}, `${others.length} more of the ${count(run.ranked, "image")} that heads were asked about.`), gallery(run, where, others)) : null]};
}

/* Places in all questions' texts, one question after another -> [question, text]. */
function located(run, place) {
  for (const [i, question] of run.questions.entries()) {
    if (place < question.texts.length) return [i, place];
    place -= question.texts.length;
  }
  return [0, 0];
}

function imagePage(run, where, number, redraw) {
  const index = run.images.findIndex((one) => one.number === number), image = run.images[index];
  if (!image) return missing(`image ${number}`);
  const labels = Object.entries(image.labels), examples = examplesOf(run, index);
  const body = [
    h("div", {class: "head-top"}, h("h1", {tabindex: "-1"}, image.name), h("p", {class: "step"}, index > 0 && h("a", {href: imageAt(run, where, index - 1)}, "← previous"), index + 1 < run.images.length && h("a", {href: imageAt(run, where, index + 1)}, "next →"))),
    h("p", {class: "lede"}, `Image ${number} of the data`, labels.map(([kind, name]) => ` · ${kind} ${name}`)),
    image.page ? explained(run, where, image, index, redraw) : h("div", {style: {"max-width": "16rem", "margin-top": "1.4rem"}}, picture(run, index, {lazy: false})),
    examples.length ? h("section", null, h("h2", null, "Heads it is an example for"), h("ul", {class: "plain"}, examples.slice(0, 30).map(([l, i, entry, side]) => h("li", null, h("a", {href: `${where}/head/${l}/${i}`}, `Layer ${l}, head ${i}`), ` answers ${side} to “${run.texts[entry.text].text}”`)))) : null,
  ];
  return {title: image.name, body};
}

function explained(run, where, image, index, redraw) {
  const page = image.page, n = page.texts.length, patches = run.grid[0] * run.grid[1], size = run.layers * run.heads;
  const places = page.texts.map((place) => located(run, place));
  const order = [...page.scores.keys()].sort((a, b) => page.scores[b] - page.scores[a]);
  const inQuestion = (i) => order.filter((at) => places[at][0] === i);
  const question = inQuestion(state.question).length ? state.question : places[order[0]][0], offered = inQuestion(question);
  const at = offered.find((one) => places[one][1] === state.text && state.image === index) ?? offered[0];
  const maps = unpack(page.maps), heads = unpack(page.heads), mlp = unpack(page.mlp);
  const map = maps.subarray(at * patches, (at + 1) * patches), own = heads.subarray(at * size, (at + 1) * size);
  const rows = Array.from({length: run.layers}, (_, l) => [...own.subarray(l * run.heads, (l + 1) * run.heads)]);
  const words = run.questions[question].texts[places[at][1]], most = largest(map), limit = largest(offered.map((one) => page.scores[one]));
  const top = [...own.keys()].sort((a, b) => Math.abs(own[b]) - Math.abs(own[a])).slice(0, 8);
  const all = run.questions[question].texts.length, truth = image.labels[run.questions[question].name];
  const options = h("fieldset", {class: "options"}, h("legend", null, `Its ${offered.length < all ? `nearest ${offered.length} of ${all}` : all} texts, by score`, h("span", {class: "note"}, `: ${run.units} minus their mean`)), offered.map((one) => {
    const text = run.questions[question].texts[places[one][1]];
    return h("label", null, h("input", {type: "radio", name: "text", value: one, checked: one === at, onchange: () => { state.text = places[one][1]; state.image = index; state.question = question; redraw("text"); }}),
      h("span", null, text, run.questions[question].known && text === truth && h("span", {class: "tag"}, "label")), bar(page.scores[one], limit, beside(page.scores[one], limit)));
  }));
  return h("div", null,
    h("div", {class: "view"},
      h("div", {class: "look"}, picture(run, index, {map, limit: most, alt: `${describe(image)}, with the map of ${words}`, lazy: false}),
        h("div", {class: "legend"}, overRamp(signed(-most), signed(most))), h("p", {class: "note"}, `What attention at each patch adds to “${words}”, in ${run.units} minus the mean of the question’s texts.`),
        h("details", null, h("summary", null, "The picture alone"), picture(run, index))),
      h("div", null, run.questions.length > 1 && h("div", {class: "controls"}, select("Question", run.questions.map((one, i) => [i, one.name]).filter(([i]) => inQuestion(i).length), question, (value) => { state.question = Number(value); state.image = null; redraw("select"); })), options)),
    h("div", {class: "columns"},
      h("section", null, h("h2", null, "Strongest heads"), h("div", {class: "scroll"}, h("table", {class: "bars named"}, h("caption", null, `On “${words}”`), h("tbody", null, top.map((i) => {
        const l = Math.floor(i / run.heads), head = i % run.heads;
        return h("tr", null, h("th", {scope: "row"}, h("a", {href: `${where}/head/${l}/${head}`}, `${l}.${head}`), " ", h("span", {class: "note"}, property(run, l, head)?.name || "")), h("td", null, bar(own[i], Math.abs(own[top[0]]), beside(own[i], Math.abs(own[top[0]])))));
      }))))),
      h("section", null, h("h2", null, "By layer"), layerBars(`On “${words}”: ${signed(page.scores[at])} in all`, rows, [...mlp.subarray(at * run.layers, (at + 1) * run.layers)], page.init[at]))));
}

function examplesOf(run, index) {
  const found = [];
  run.pages.forEach((row, l) => row.forEach((page, i) => page.basis.forEach((entry) => ["most", "least"].forEach((side) => {
    const one = entry[side].find((example) => example.image === index);
    if (one) found.push([l, i, entry, side, (run.variance.heads[l][i] || 0) * (entry.gain || 0)]);
  }))));
  return found.sort((a, b) => b[4] - a[4]);
}

function headsOf(run, text) {
  return run.pages.flatMap((row, l) => row.flatMap((page, i) => page.basis.filter((entry) => entry.text === text).map((entry) => [l, i, entry])))
    .sort((a, b) => b[2].gain * run.variance.heads[b[0]][b[1]] - a[2].gain * run.variance.heads[a[0]][a[1]]);
}

function textList(run, where) {
  const groups = run.properties.length ? ranked(run).map((i) => run.properties[i]) : [null];
  return {title: "Texts", body: [h("h1", {tabindex: "-1"}, "Texts"), h("p", {class: "lede"}, "What heads were found to say, by what it is about. Beside a head: how much more of its variance is explained with the text."), groups.map((name) => {
    const own = [...run.texts.keys()].filter((i) => run.texts[i].property === name);
    return own.length ? h("section", null, name && h("h2", null, sentence(name)), table(null, [{name: "Text"}, {name: "Heads"}], own.map((i) => [h("a", {href: `${where}/text/${i}`}, run.texts[i].text), headsOf(run, i).map(([l, head, entry], at) => [at ? ", " : "", h("a", {href: `${where}/head/${l}/${head}`}, `${l}.${head}`), ` ${percent(entry.gain)}`])]))) : null;
  })]};
}

function textPage(run, where, index) {
  const text = run.texts[index];
  if (!text) return missing(`text ${index}`);
  return {title: text.text, body: [h("h1", {tabindex: "-1"}, text.text), h("p", {class: "lede"}, text.property ? `About ${text.property}. ` : "", "Heads that vary along it:"), h("p", {class: "note"}, reading(run)),
    h("ol", {class: "texts"}, headsOf(run, index).map(([l, i, entry]) => {
      const maps = entry.most.map((one) => unpack(one.map)), limit = Math.max(0, ...maps.map((map) => largest(map)));
      return h("li", null, h("div", {class: "text-top"}, h("h2", {style: {margin: "0"}}, h("a", {href: `${where}/head/${l}/${i}`}, `Layer ${l}, head ${i}`)), bar(entry.gain, 1, part(entry.gain, 1), false)),
        h("ul", {class: "row", style: {"max-width": "34rem", "margin-top": ".6rem"}}, entry.most.map((one, at) => h("li", null, h("figure", null, h("a", {href: imageAt(run, where, one.image)}, picture(run, one.image, {map: maps[at], limit})), h("figcaption", null, signed(one.value)))))));
    }))]};
}

function found(run, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  // The beginning of a word, so that red does not find checkered; anywhere in scripts that do not part their words.
  const starts = (line, word) => (/^[\w.]+$/.test(word) ? line.split(/[^\p{L}\p{N}.]+/u).some((one) => one.startsWith(word)) : line.includes(word));
  const all = (line) => words.every((word) => starts(line.toLowerCase(), word));
  const heads = run.pages.flatMap((row, l) => row.map((_, i) => [l, i])).filter(([l, i]) => all(`${l}.${i} layer ${l} head ${i}, ${property(run, l, i)?.name || ""} ${names(run, l, i).join(" · ")}`));
  return {texts: [...run.texts.keys()].filter((i) => all(`${run.texts[i].text} ${run.texts[i].property || ""}`)), heads, images: [...run.images.keys()].filter((i) => all(describe(run.images[i])))};
}

function searchPage(run, where, query) {
  const {texts, heads, images} = found(run, query), n = texts.length + heads.length + images.length;
  const counts = [count(texts.length, "text"), count(heads.length, "head"), count(images.length, "image")].join(", ");
  const part = (title, items, list) => items.length ? h("section", null, h("h2", null, `${title} `, h("span", {class: "tag"}, String(items.length))), list) : null;
  return {title: `Search: ${query}`, status: `${counts} for ${query}`, body: [
    h("h1", {tabindex: "-1"}, `“${query}”`), h("p", {class: "lede"}, n ? `${counts}.` : "Nothing has all of these words; try fewer."),
    part("Texts", texts, h("ul", {class: "plain"}, texts.slice(0, 60).map((i) => h("li", null, h("a", {href: `${where}/text/${i}`}, run.texts[i].text), run.texts[i].property && h("span", {class: "tag"}, run.texts[i].property))))),
    part("Heads", heads, h("ul", {class: "plain"}, heads.slice(0, 60).map(([l, i]) => h("li", null, h("a", {href: `${where}/head/${l}/${i}`}, `Layer ${l}, head ${i}`), h("span", {class: "note"}, ` ${names(run, l, i).slice(0, 4).join(" · ")}`))))),
    part("Images", images, gallery(run, where, images.slice(0, 60)))]};
}

function comparePage(runs, changes, redraw) {
  const body = [h("h1", {tabindex: "-1"}, "Two runs"), h("p", {class: "lede"}, `${runs[0].name} beside ${runs[1].name}.`),
    colours(runs[0], redraw),
    h("div", {class: "side-by-side"}, runs.map((run, i) => h("section", null, h("h2", null, run.name), h("p", {class: "note"}, run.model), board(run, `#/${i}`, redraw, false))))];
  if (!changes) return {title: "Two runs", body: [...body, h("p", null, "Their models have different heads, so none can be followed from one to the other.")]};
  const role = (run, i, l, head) => h("span", null, h("a", {href: `#/${i}/head/${l}/${head}`}, property(run, l, head)?.name || "texts"), h("span", {class: "note"}, ` ${share(run.variance.heads[l][head])} · ${names(run, l, head).slice(0, 3).join(" · ")}`));
  body.push(h("section", null, h("h2", null, "Which heads changed role"), table("How much of what a head’s texts explain went to other texts, and to other properties: 0% is the same role.",
    [{name: "Head"}, {name: "Texts", number: true}, {name: "Property", number: true}, {name: runs[0].name}, {name: runs[1].name}],
    changes.slice(0, 100).map((one) => [`${one.layer}.${one.head}`, percent(one.texts), percent(one.properties), role(runs[0], 0, one.layer, one.head), role(runs[1], 1, one.layer, one.head)]))));
  return {title: "Two runs", body};
}
