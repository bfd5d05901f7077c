/* Pages of a run. Each returns {title, body}; `state` is what the reader has chosen. */

const state = {colour: "variance", question: 0, maps: true, text: 0, theme: "auto"};
const names = (run, layer, head) => run.pages[layer][head].basis.map((entry) => run.texts[entry.text].text);
const property = (run, layer, head) => {
  const shares = run.pages[layer][head].shares, whole = shares.reduce((sum, x) => sum + x, 0);
  const best = shares.reduce((top, x, i) => (x > shares[top] ? i : top), 0);
  return whole > 0 ? {index: best, share: shares[best] / whole, name: run.properties[best]} : null;
};

/* Properties by how much of the heads' variance they hold: the first ones get the colours. */
function ranked(run) {
  const held = run.properties.map(() => 0);
  run.pages.forEach((row, layer) => row.forEach((page, head) => page.shares.forEach((x, i) => { held[i] += x * (run.variance.heads[layer][head] || 0); })));
  return held.map((x, i) => [x, i]).sort((a, b) => b[0] - a[0]).map(([, i]) => i);
}

function painter(run) {
  const question = run.questions[Math.min(state.question, run.questions.length - 1)];
  if (state.colour === "effect") {
    const limit = largest([...question.heads.flat(), ...question.mlp]);
    const paint = (x) => ({colour: diverging(x / limit), text: signed(x), label: `direct effect ${signed(x)}`});
    return {cell: (l, i) => paint(question.heads[l][i]), mlp: (l) => paint(question.mlp[l]),
      legend: h("div", {class: "legend"}, ramp((t) => diverging(2 * t - 1), signed(-limit), null, signed(limit)),
        h("span", null, `${run.units} with the ${question.known ? "image’s own" : "nearest"} ${question.known ? question.name : "text"}, minus the mean of all ${question.texts.length}`))};
  }
  if (state.colour === "property") {
    const order = ranked(run), place = Object.fromEntries(order.map((i, at) => [i, at])), seen = new Set();
    const cell = (l, i) => {
      const found = property(run, l, i);
      if (!found) return {colour: sequential(0), text: "", label: "no property"};
      seen.add(found.index);
      return {colour: categorical(place[found.index], found.share), text: found.name, label: `${found.name}, ${percent(found.share)} of what its texts explain`};
    };
    run.pages.forEach((row, l) => row.forEach((_, i) => cell(l, i)));
    return {cell, mlp: null, legend: h("ul", {class: "legend"}, order.filter((i) => seen.has(i)).map((i) =>
      h("li", null, h("span", {class: "swatch", style: {background: css(categorical(place[i]))}}), run.properties[i])),
      h("li", null, "the stronger, the more of what the head’s texts explain"))};
  }
  const limit = largest(run.variance.heads.flat()), beyond = largest(run.variance.mlp) > limit;
  const paint = (x) => ({colour: sequential(x / limit), text: share(x), label: `${share(x)} of the variance`});
  return {cell: (l, i) => paint(run.variance.heads[l][i]), mlp: (l) => paint(run.variance.mlp[l]),
    legend: h("div", {class: "legend"}, ramp(sequential, "0%", null, share(limit) + (beyond ? " and more" : "")), h("span", null, "of the variance over images, summed over all terms"))};
}

function colours(run, redraw) {
  const modes = [["variance", "Variance"], ["effect", "Direct effect"], ...(run.properties.length ? [["property", "Property"]] : [])];
  return h("div", {class: "controls"}, choice("colour", "Colour by", modes, state.colour, (value) => { state.colour = value; redraw("colour"); }),
    state.colour === "effect" && run.questions.length > 1 && asked(run, redraw));
}

const asked = (run, redraw) => select("on", run.questions.map((question, i) => [i, question.name]), state.question, (value) => { state.question = Number(value); redraw("select"); });

/* The grid with its colours; `where` is the run's address. */
function board(run, where, redraw, chosen = true) {
  const {cell, mlp, legend} = painter(run);
  const readout = h("p", {class: "readout", "aria-hidden": "true"}, "Point at a head, or move with the arrow keys, to read it; open it to see its texts and pictures.");
  const tell = (layer, head) => {
    const found = property(run, layer, head);
    readout.textContent = `Layer ${layer}, head ${head}: ${share(run.variance.heads[layer][head])} of the variance${found ? `, ${found.name} ${percent(found.share)}` : ""}; ${names(run, layer, head).slice(0, 3).join(" · ")}`;
  };
  return h("div", null, chosen && colours(run, redraw), grid(run, where, `Heads of ${run.model} by layer`, cell, mlp, tell), legend, readout);
}

function overview(run, where, redraw) {
  const check = run.card.check, question = run.questions[Math.min(state.question, run.questions.length - 1)];
  const body = [
    h("h1", {tabindex: "-1"}, run.model),
    h("p", {class: "lede"}, `What ${count(run.layers * run.heads, "attention head")} in ${count(run.layers, "layer")} ${run.layers * run.heads === 1 ? "does" : "do"} with ${count(run.n_images, "image")}. Each embedding is the sum of its parts, and each part is read with the model’s own words.`),
    h("dl", {class: "facts"},
      fact("Images", run.n_images.toLocaleString("en")), fact("Heads", `${run.layers * run.heads}`),
      fact("Variance in heads", percent(run.variance.heads.flat().reduce((sum, x) => sum + x, 0))),
      fact("Parts sum to the whole within", power(check.error), check.holds === null ? "" : check.holds ? "holds" : "broken", check.holds === null ? "" : check.holds ? " ✓" : " ✗")),
    h("section", {"aria-labelledby": "heads-title"}, h("h2", {id: "heads-title"}, "Heads"), board(run, where, redraw)),
    h("section", {"aria-labelledby": "layers-title"}, h("h2", {id: "layers-title"}, "Direct effect by layer"),
      run.questions.length > 1 && h("div", {class: "controls"}, asked(run, redraw)),
      layerBars(`Mean direct effect on the ${question.known ? `right ${question.name}` : "nearest text"} over ${count(question.n, "image")}, in ${run.units} minus the mean of all ${question.texts.length} texts. Input is what the class token brings before the first layer.`, question.heads, question.mlp, question.init)),
    h("section", {"aria-labelledby": "asked-title"}, h("h2", {id: "asked-title"}, "What was asked"),
      table(`Every question with its zero-shot accuracy, and the heads with the largest mean direct effect on the right text (without labels, the nearest), in ${run.units}.`,
        [{name: "Question"}, {name: "Accuracy", number: true}, {name: "Chance", number: true}, {name: "Strongest heads"}],
        run.questions.map((one) => [one.name, one.known ? `${percent(one.accuracy)} of ${one.n.toLocaleString("en")}` : "–", one.known ? percent(1 / one.texts.length) : "–", strongest(one).map(([l, i, x], at) => [at ? ", " : "", h("span", {style: {"white-space": "nowrap"}}, h("a", {href: `${where}/head/${l}/${i}`}, `${l}.${i}`), ` ${signed(x)}`)])]), "")),
    h("section", {"aria-labelledby": "card-title"}, h("h2", {id: "card-title"}, "Model card"), modelCard(run)),
  ];
  return {title: run.model, body};
}

const fact = (name, value, kind = "", mark = "") => h("div", null, h("dt", null, name), h("dd", {class: kind || null}, value, mark));

function strongest(question, n = 3) {
  return question.heads.flatMap((row, l) => row.map((x, i) => [l, i, x])).sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, n);
}

function modelCard(run) {
  const {rows, chosen, check} = run.card;
  const verdict = check.holds === null ? "" : check.holds ? `, within the ${power(check.tolerance)} allowed in float32` : `, more than the ${power(check.tolerance)} allowed in float32`;
  return [
    h("div", {class: "scroll"}, h("table", {class: "wide card"}, h("tbody", null, rows.map(([name, value]) => h("tr", null, h("th", {scope: "row"}, name), h("td", {class: /^[0-9a-f]{40,}$/.test(value) ? "hash" : null}, value))),
      h("tr", null, h("th", {scope: "row"}, "Sum check"), h("td", null, `init, heads and MLPs together differ from the embedding by at most ${power(check.error)} of its length on ${count(check.images, "image")}${verdict}`))))),
    chosen.length ? [h("h3", null, "What was chosen, and why"), table(null, [{name: "Setting"}, {name: "Value"}, {name: "Why"}], chosen.map((one) => [one.what, one.value, one.why]), "wide card")] : null,
  ];
}

function headList(run, where) {
  const rows = run.pages.flatMap((row, l) => row.map((_, i) => [l, i])).sort((a, b) => run.variance.heads[b[0]][b[1]] - run.variance.heads[a[0]][a[1]]);
  return {title: "Heads", body: [h("h1", {tabindex: "-1"}, "Heads"), h("p", {class: "lede"}, "Those that vary most over the images come first, each with the texts that explain most of it."),
    table(`Variance: of all terms’ together.${run.properties.length ? " Property: what most of its texts are about, and how much of all that they explain." : ""}`, [{name: "Head"}, {name: "Variance", number: true}, {name: "Property"}, {name: "Texts"}], rows.map(([l, i]) => {
      const found = property(run, l, i);
      return [h("a", {href: `${where}/head/${l}/${i}`}, `${l}.${i}`, h("span", {class: "visually-hidden"}, `: layer ${l}, head ${i}`)), share(run.variance.heads[l][i]), found ? `${found.name} ${percent(found.share)}` : "–", names(run, l, i).slice(0, 4).join(" · ")];
    }))]};
}

function headPage(run, where, layer, head, redraw) {
  const page = run.pages[layer]?.[head];
  if (!page) return missing(`head ${layer}.${head}`);
  const at = layer * run.heads + head, explained = page.basis.reduce((sum, entry) => sum + (entry.gain || 0), 0);
  const near = (to, label) => to >= 0 && to < run.layers * run.heads && h("a", {href: `${where}/head/${Math.floor(to / run.heads)}/${to % run.heads}`}, label);
  const limit = largest(run.questions.map((one) => one.heads[layer][head])), average = mean(page.basis.flatMap((entry) => entry.most.map((one) => unpack(one.map))));
  const body = [
    h("div", {class: "head-top"}, h("h1", {tabindex: "-1"}, `Layer ${layer}, head ${head}`), h("p", {class: "step"}, near(at - 1, "← previous"), near(at + 1, "next →"))),
    h("p", {class: "lede"}, `${share(run.variance.heads[layer][head])} of the variance over images, summed over all terms. Its first ${page.basis.length === 1 ? "text explains" : `${page.basis.length} texts explain`} ${percent(explained)} of that.`),
    composition(run, page),
    h("div", {class: "columns"},
      h("section", null, h("h2", null, "Direct effects"), h("div", {class: "scroll"}, h("table", {class: "bars"}, h("caption", null, `On the ${run.questions[0].known ? "right" : "nearest"} text of each question, ${run.units}`), h("tbody", null, run.questions.map((one) => h("tr", null, h("th", {scope: "row"}, one.name), h("td", null, bar(one.heads[layer][head], limit, beside(one.heads[layer][head], limit))))))))),
      average && h("section", null, h("h2", null, "Where it looks"), h("div", {style: {"max-width": "11rem"}}, h("span", {class: "frame", style: {"aspect-ratio": `${run.grid[1]} / ${run.grid[0]}`}}, heat(average, largest(average), run.grid))),
        h("p", {class: "note"}, "Mean over the pictures below of what each patch adds to the text it stands under, relative to the strongest patch of each: orange for, blue against."))),
    h("section", {"aria-labelledby": "texts-title"}, h("h2", {id: "texts-title"}, "Its texts"),
      h("div", {class: "controls"}, h("label", null, h("input", {type: "checkbox", checked: state.maps, style: {"min-height": "0"}, onchange: (event) => { state.maps = event.target.checked; redraw("checkbox"); }}), " Maps over pictures"),
        h("span", {class: "legend"}, overRamp("against", "for the text"))),
      h("p", {class: "note"}, reading(run)),
      h("ol", {class: "texts"}, page.basis.map((entry, i) => textRow(run, where, entry, i, largest(page.basis.map((one) => one.gain)))))),
  ];
  return {title: `Layer ${layer}, head ${head}`, body};
}

/* What the bar of a head's text and the numbers under its pictures are. */
const reading = (run) => `The bar: how much more of the head’s variance is explained with the text. Under a picture: the head’s direct effect on the text, in ${run.units}, minus the mean over images.`;

function mean(maps) {
  if (!maps.length) return null;
  const sum = new Float32Array(maps[0].length);
  maps.forEach((map) => { const most = largest(map) || 1; map.forEach((x, i) => { sum[i] += x / most / maps.length; }); });
  return sum;
}

function composition(run, page) {
  const whole = page.shares.reduce((sum, x) => sum + x, 0);
  if (!whole) return null;
  const order = ranked(run), place = Object.fromEntries(order.map((i, at) => [i, at]));
  const parts = page.shares.map((x, i) => [x / whole, i]).filter(([x]) => x > 0).sort((a, b) => b[0] - a[0]);
  return h("div", null, h("div", {class: "stack", "aria-hidden": "true"}, parts.map(([x, i]) => h("span", {style: {"flex-grow": String(x), background: css(categorical(place[i]))}}))),
    h("ul", {class: "legend", "aria-label": "What its texts are about"}, parts.map(([x, i]) => h("li", null, h("span", {class: "swatch", style: {background: css(categorical(place[i]))}}), `${run.properties[i]} ${percent(x)}`))));
}

function textRow(run, where, entry, rank, first) {
  const text = run.texts[entry.text], maps = entry.most.map((one) => unpack(one.map)), limit = Math.max(0, ...maps.map((map) => largest(map)));
  const shown = (one, i, mapped) => h("li", null, h("figure", null, h("a", {href: imageAt(run, where, one.image)}, picture(run, one.image, {map: mapped && state.maps ? maps[i] : null, limit})), h("figcaption", null, signed(one.value))));
  return h("li", null,
    h("div", {class: "text-top"}, h("h3", null, h("span", {class: "note"}, `${rank + 1}. `), h("a", {href: `${where}/text/${entry.text}`}, text.text), text.property && h("span", {class: "tag"}, text.property)), bar(entry.gain, first, part(entry.gain, first), false)),
    h("div", {class: "sides"},
      entry.most.length ? h("div", null, h("h4", null, "answers most"), h("ul", {class: "row"}, entry.most.map((one, i) => shown(one, i, true)))) : null,
      entry.least.length ? h("div", null, h("h4", null, "answers least"), h("ul", {class: "row"}, entry.least.map((one, i) => shown(one, i, false)))) : null));
}

function missing(what) {
  return {title: "Not found", body: [h("h1", {tabindex: "-1"}, "Not found"), h("p", null, `This report has no ${what}. `, h("a", {href: "#/"}, "Back to the overview"))]};
}
