/** The collections that are served, and the one that is chosen. */

import { call, pathOf } from "./api.js";
import { asked } from "./dialogs.js";
import { announce, byId, h } from "./dom.js";
import { trying } from "./failures.js";
import { bytes, counted } from "./wording.js";

const WEB_ALONE = "";

/** Tells of a `change` when another collection is chosen, or the chosen one has changed. */
export class Collections extends EventTarget {
  /** @param {object} service What `/v1/service` says. */
  constructor(service) {
    super();
    this.service = service;
    this.list = [];
    /** @type {object | null} The chosen one; null for the web alone, and where there is none. */
    this.current = null;
    this.select = byId("collection");
    this.select.addEventListener("change", () => go(this.select.value));
    byId("new-collection").addEventListener("click", () => this.#create());
    byId("delete-collection").addEventListener("click", () => this.#delete());
  }

  /** @param {object} service */
  static async load(service) {
    const collections = new Collections(service);
    await collections.#fetch();
    return collections;
  }

  /**
   * Choose a collection; an unknown name chooses the first.
   *
   * @param {string | null} name
   */
  choose(name) {
    const same = (each) => each.name.toLowerCase() === name?.toLowerCase();
    const webAlone = this.service.web && name === WEB_ALONE;
    this.current = webAlone ? null : (this.list.find(same) ?? this.list[0] ?? null);
    this.#show();
    this.dispatchEvent(new Event("change"));
  }

  /** Ask the service again. */
  async refresh() {
    const name = this.current?.name ?? null;
    await this.#fetch();
    this.choose(name);
  }

  async #fetch() {
    this.list = await call("/v1/collections");
  }

  #show() {
    const options = this.list.map(({ name }) => h("option", { value: name }, name));
    if (this.service.web) options.push(h("option", { value: WEB_ALONE }, "The web alone"));
    this.select.replaceChildren(...options);
    this.select.value = this.current?.name ?? WEB_ALONE;
    this.select.hidden = options.length === 0;
    const admin = this.service.scopes.includes("admin");
    byId("new-collection").hidden = !admin;
    byId("delete-collection").hidden = !(admin && this.current?.deletable);
    byId("documents-heading").textContent = this.current?.name ?? "Documents";
    byId("collection-facts").textContent = this.current
      ? [
          counted(this.current.documents, "document"),
          counted(this.current.passages, "passage"),
          bytes(this.current.bytes),
        ].join(" · ")
      : "No collection is chosen.";
  }

  #create() {
    return asked({
      title: "New collection",
      text: "A collection holds documents that are searched together.",
      action: "Create",
      field: {
        label: "Name",
        hint: "Letters, digits, hyphens and underscores; at most 64.",
        pattern: "[A-Za-z0-9][A-Za-z0-9_\\-]{0,63}",
        autocomplete: "off",
      },
      run: async (name) => {
        await call("/v1/collections", { method: "POST", body: { name } });
        await this.#fetch();
        go(name);
        announce(`Collection ${name} was created.`);
      },
    });
  }

  #delete() {
    const { name, documents } = this.current;
    return asked({
      title: `Delete ${name}?`,
      text: `Its ${counted(documents, "document")} will be gone for good.`,
      action: "Delete collection",
      danger: true,
      run: async () => {
        await call(pathOf(name), { method: "DELETE" });
        announce(`Collection ${name} was deleted.`);
        await trying(() => this.refresh());
        byId("documents-heading").focus();
      },
    });
  }
}

/**
 * Go to a collection, in the view that is shown.
 *
 * @param {string} collection
 */
function go(collection) {
  const place = new URLSearchParams(location.hash.slice(1));
  place.set("collection", collection);
  location.hash = place.toString();
}
