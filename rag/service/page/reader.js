/** The panel that shows a document beside the answer; on small screens in its place. */

import { call, documentPath } from "./api.js";
import { unitOffset } from "./characters.js";
import { announce, byId, h, webLink } from "./dom.js";
import { failureNotice } from "./failures.js";
import { moment } from "./wording.js";

const beside = matchMedia("(min-width: 68rem)");

/** @type {HTMLElement | null} What had the focus before. */
let opener = null;
let loading = new AbortController();

/** Make the panel work. */
export function startReader() {
  const reader = byId("reader");
  byId("reader-close").addEventListener("click", () => reader.close());
  reader.addEventListener("close", () => {
    if (reader.open) return; // again, in another way
    document.body.classList.remove("reading");
    loading.abort();
    opener?.focus();
  });
  // Only modal dialogs close at Escape by themselves.
  addEventListener("keydown", (event) => {
    const otherDialog = document.querySelector("dialog.question[open]");
    if (event.key === "Escape" && reader.open && !otherDialog) reader.close();
  });
  beside.addEventListener("change", () => {
    if (reader.open) unfold();
  });
}

/**
 * Show what a citation rests on.
 *
 * @param {object} citation
 * @param {string | null} collection
 */
export async function openCitation(citation, collection) {
  const { document_id: id, title, uri, retrieved, quote, start, end } = citation;
  if (!retrieved && collection) return openDocument(collection, id, { title, start, end });
  // A page of the web is not kept: the quote is what there is of it.
  open(title || uri, [webLink(uri), `, retrieved ${moment(retrieved)}`]);
  show(h("blockquote", {}, h("mark", {}, quote)));
}

/**
 * Show a document.
 *
 * @param {string} collection
 * @param {string} id
 * @param {{title?: string, start?: number, end?: number}} cited The range to mark, in code points.
 */
export async function openDocument(collection, id, { title = "", start = 0, end = 0 } = {}) {
  open(title || id, [id]);
  const { signal } = loading;
  try {
    const found = await call(documentPath(collection, id), { signal });
    byId("reader-title").textContent = found.title || id;
    byId("reader-from").replaceChildren(...from(found));
    show(...marked(found.text, start, end));
  } catch (error) {
    if (error.name !== "AbortError") show(failureNotice(error));
  }
}

function open(title, from) {
  if (!byId("reader").contains(document.activeElement)) opener = document.activeElement;
  loading.abort();
  loading = new AbortController();
  byId("reader-title").textContent = title;
  byId("reader-from").replaceChildren(...from);
  byId("reader-text").replaceChildren(h("p", { class: "muted" }, "Loading…"));
  unfold();
  byId("reader-title").focus();
}

function unfold() {
  const reader = byId("reader");
  reader.close();
  document.body.classList.toggle("reading", beside.matches);
  if (beside.matches) reader.show();
  else reader.showModal();
}

function show(...nodes) {
  const text = byId("reader-text");
  text.replaceChildren(...nodes);
  text.scrollTop = 0;
  text.querySelector("mark")?.scrollIntoView({ block: "center" });
}

function from({ id, uri }) {
  // Where a file lies on the service's machine says no more than its name does.
  if (!uri || uri === id || uri.startsWith("file:")) return [webLink(id)];
  return [id, " · ", webLink(uri)];
}

/** The text with a range of it marked, as nodes. */
function marked(text, start, end) {
  if (end <= start) return blocks(text);
  const first = unitOffset(text, start);
  const last = first + unitOffset(text.slice(first), end - start);
  const lineStart = text.slice(0, first).lastIndexOf("\n") + 1;
  const lineEnd = last + text.slice(last).search(/\n|$/) + 1;
  const mark = h("mark", {}, text.slice(first, last));
  announce("The cited passage is marked.");
  return [
    ...blocks(text.slice(0, lineStart)),
    h("div", {}, text.slice(lineStart, first), mark, text.slice(last, lineEnd)),
    ...blocks(text.slice(lineEnd)),
  ];
}

/** The text in pieces of whole lines: of a long one, the browser lays out only what is in sight. */
function blocks(text) {
  const pieces = text.match(/[^]{1,5000}[^\n]*\n?/g) ?? [];
  return pieces.map((each) => h("div", { class: "block" }, each));
}
