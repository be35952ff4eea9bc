/** The view of a collection's documents. */

import { call, documentPath, pathOf } from "./api.js";
import { asked } from "./dialogs.js";
import { announce, byId, h, iconButton } from "./dom.js";
import { trying } from "./failures.js";
import { Jobs } from "./jobs.js";
import { openDocument } from "./reader.js";
import { startUploads } from "./uploads.js";

const PAGE = 50;

/** @param {object} service @param {import("./collections.js").Collections} collections */
export function startDocuments(service, collections) {
  const list = new DocumentList(service, collections);
  const jobs = new Jobs(service, () => collections.refresh());
  startUploads(service, collections, jobs);
  collections.addEventListener("change", () => {
    const { current } = collections;
    byId("dropzone").hidden = !(service.scopes.includes("write") && current?.writable);
    list.show(current);
    jobs.follow(current);
  });
  byId("more-documents").addEventListener("click", () => trying(() => list.more()));
}

class DocumentList {
  #collection = null;
  #next = null;
  #count = 0;

  constructor(service, collections) {
    this.service = service;
    this.collections = collections;
    this.list = byId("document-list");
  }

  /** Show a collection from its beginning, unless its documents are shown already. */
  show(collection) {
    const known = collection?.name === this.#collection?.name;
    if (known && collection?.documents === this.#count) return;
    this.#collection = collection;
    this.#count = collection?.documents ?? 0;
    this.#next = null;
    this.list.replaceChildren();
    byId("no-documents").hidden = !collection || collection.documents > 0;
    byId("more-documents").hidden = true;
    if (collection?.documents) trying(() => this.more());
  }

  /** Show the next ones. */
  async more() {
    const collection = this.#collection;
    const after = this.#next === null ? "" : `&after=${encodeURIComponent(this.#next)}`;
    const page = await call(pathOf(collection.name, `/documents?limit=${PAGE}${after}`));
    if (collection !== this.#collection) return; // another one was chosen meanwhile
    this.#next = page.next;
    byId("more-documents").hidden = page.next === null;
    const rows = page.documents.map((each) => this.#row(each));
    this.list.append(...rows);
    if (after) rows[0]?.querySelector("button").focus();
  }

  #row({ id, title }) {
    const { name, writable } = this.#collection;
    const shown = title || id;
    const open = () => openDocument(name, id, { title });
    const row = h(
      "li",
      {},
      h(
        "div",
        {},
        h("button", { type: "button", class: "link", onclick: open }, shown),
        shown !== id && h("span", { class: "muted" }, id),
      ),
      this.service.scopes.includes("write") && writable &&
        iconButton("delete", `Delete ${shown}`, { onclick: () => this.#delete(id, shown, row) }),
    );
    return row;
  }

  async #delete(id, shown, row) {
    const { name } = this.#collection;
    const done = await asked({
      title: "Delete this document?",
      text: `${shown} will be gone from ${name}, and from its answers.`,
      action: "Delete document",
      danger: true,
      run: () => call(documentPath(name, id), { method: "DELETE" }),
    });
    if (!done) return;
    const near = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    announce(`${shown} was deleted.`);
    (near?.querySelector("button") ?? byId("documents-heading")).focus();
    this.#count -= 1; // so that the list need not start over
    await trying(() => this.collections.refresh());
  }
}
