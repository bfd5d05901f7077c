/** Addresses after # to pages; focus, title and announcements go along. */

import {dark} from "./colour.js";
import {comparePage} from "./compare.js";
import {h, missing} from "./elements.js";
import {headList, headPage} from "./heads.js";
import {imageList, imagePage} from "./images.js";
import {overview} from "./overview.js";
import {resultsPage} from "./results.js";
import {searchPage} from "./search.js";
import {state} from "./state.js";
import {textList, textPage} from "./texts.js";

const data = JSON.parse(document.getElementById("data").textContent);

const main = document.getElementById("main");
const search = /** @type {HTMLInputElement} */ (document.getElementById("search"));
const chooser = /** @type {HTMLSelectElement} */ (document.getElementById("run"));

const wished = window.matchMedia("(prefers-color-scheme: dark)");

/** Read the address: which run, which page, and what else. */
function address() {
  const parts = location.hash
    .replace(/^#\/?/, "")
    .split("/")
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  const at = /^\d+$/.test(parts[0]) && data.runs[Number(parts[0])] ? Number(parts.shift()) : current();
  return {at, page: parts[0] || "", rest: parts.slice(1)};
}

const current = () => Number(chooser.value) || 0;

/**
 * Choose the page of an address.
 * @param {{at: number, page: string, rest: string[]}} address
 */
function pageOf({at, page, rest}) {
  const run = data.runs[at],
    where = `#/${at}`,
    whole = (text) => (/^\d+$/.test(text || "") ? Number(text) : -1);
  if (page === "heads") return headList(run, where);
  if (page === "head") return headPage(run, where, whole(rest[0]), whole(rest[1]), redraw);
  if (page === "images") return imageList(run, where);
  if (page === "image") return imagePage(run, where, whole(rest[0]), redraw);
  if (page === "texts") return textList(run, where);
  if (page === "text") return textPage(run, where, whole(rest[0]));
  if (page === "search" && rest.join("/").trim()) return searchPage(run, where, rest.join("/").trim());
  if (page === "compare" && data.runs.length === 2) return comparePage(data.runs, data.changes, redraw);
  if (page === "results" && data.results.length)
    return resultsPage(data.results, data.runs, at, rest.length ? whole(rest[0]) : null);
  return page && page !== "search" ? missing("such page") : overview(run, where, redraw);
}

/** Draw the page of the address. */
function draw() {
  const now = address(),
    {title, body, status} = pageOf(now);
  chooser.value = String(now.at);
  main.replaceChildren(...body.flat(9).filter((part) => part));
  document.title = `${title} · jaxclip report`;
  document.getElementById("status").textContent = status || "";
  drawLinks(now);
}

/**
 * Draw the page again. What is chosen on a page changes the page alone: the reader stays where they are, on the
 * control they used.
 * @param {string} [kind] of the control
 */
function redraw(kind) {
  const held = /** @type {HTMLInputElement} */ (document.activeElement),
    key =
      held && main.contains(held)
        ? {
            name: held.name,
            value: held.value,
            place: [...main.querySelectorAll(held.tagName)].indexOf(held),
            tag: held.tagName,
          }
        : null;
  const top = window.scrollY,
    list = main.querySelector(".options")?.scrollTop || 0;
  draw();
  const options = main.querySelector(".options");
  if (options && kind === "text") options.scrollTop = list;
  if (key) {
    const alike = /** @type {HTMLInputElement[]} */ ([...main.querySelectorAll(key.tag)]);
    const same = key.name ? alike.find((one) => one.name === key.name && one.value === key.value) : alike[key.place];
    same?.focus({preventScroll: true});
  }
  window.scrollTo({top, behavior: "instant"});
}

/**
 * Draw the links between pages.
 * @param {{at: number, page: string}} address
 */
function drawLinks({at, page}) {
  const places = [
    ["", "Overview"],
    ["heads", "Heads"],
    ["images", "Images"],
    ["texts", "Texts"],
    ...(data.runs.length === 2 ? [["compare", "Two runs"]] : []),
    ...(data.results.length ? [["results", "Results"]] : []),
  ];
  const here = {head: "heads", image: "images", text: "texts"}[page] ?? page;
  document
    .getElementById("nav")
    .replaceChildren(
      ...places.map(([name, label]) =>
        h("li", h("a", {href: `#/${at}/${name}`, "aria-current": name === here ? "page" : null}, label)),
      ),
    );
}

/** Draw the page of a new address, from its top. */
function arrive() {
  draw();
  if (document.activeElement === search) return;
  window.scrollTo({top: 0, behavior: "instant"});
  main.querySelector("h1")?.focus({preventScroll: true});
}

/** Set light or dark. */
function paintTheme() {
  document.documentElement.dataset.theme = state.theme === "auto" ? (wished.matches ? "dark" : "light") : state.theme;
  const button = document.getElementById("theme"),
    next = dark() ? "light" : "dark";
  button.textContent = dark() ? "☀" : "☾";
  button.setAttribute("aria-label", `Switch to ${next} colours`);
  button.onclick = () => {
    state.theme = next;
    paintTheme();
    redraw();
  };
}

/** Go to the page of what is being searched for. */
function seek() {
  const query = search.value.trim(),
    to = query ? `#/${current()}/search/${encodeURIComponent(query)}` : `#/${current()}/`;
  if (address().page === "search") history.replaceState(null, "", to);
  else history.pushState(null, "", to);
  draw();
}

search.addEventListener("input", seek);
document.getElementById("search-form").addEventListener("submit", (event) => {
  event.preventDefault();
  seek();
  main.querySelector("h1")?.focus();
});
document.addEventListener("keydown", (event) => {
  if (
    event.key !== "/" ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)
  )
    return;
  event.preventDefault();
  search.focus();
  search.select();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
  main.scrollIntoView();
});
chooser.addEventListener("change", () => {
  const {page, rest} = address();
  location.hash = `#/${chooser.value}/${[page, ...rest].map(encodeURIComponent).join("/")}`;
});
wished.addEventListener("change", () => {
  paintTheme();
  redraw();
});
window.addEventListener("hashchange", arrive);
window.addEventListener("popstate", () => {
  if (address().page === "search") search.value = address().rest.join("/");
});
window.addEventListener("beforeprint", () => {
  document.documentElement.dataset.theme = "light";
  main.querySelectorAll("img").forEach((image) => {
    image.loading = "eager";
  });
  redraw();
});
window.addEventListener("afterprint", () => {
  paintTheme();
  redraw();
});

chooser.append(...data.runs.map((run, i) => h("option", {value: i}, run.name)));
chooser.hidden = data.runs.length < 2;
document.getElementById("footer").textContent =
  `Made with jaxclip ${data.version}. CLIP’s image embedding as a sum over layers, heads and patches; ` +
  "after Gandelsman, Efros and Steinhardt, arXiv:2310.05916.";
paintTheme();
if (address().page === "search") search.value = address().rest.join("/");
draw();
