/** Work in the background, shown until it is done. */

import { call } from "./api.js";
import { announce, byId, h } from "./dom.js";
import { showTrouble, trying } from "./failures.js";
import { counted } from "./wording.js";

const POLL_MS = 700;
const NAMES = { upload: "Upload", folder: "Folder" };

const ended = ({ state }) => !["queued", "running"].includes(state);

export class Jobs {
  /** @type {Map<string, HTMLElement>} */
  #rows = new Map();
  #collection = null;

  /** @param {object} service @param {() => Promise<void>} changed Called when one has ended. */
  constructor(service, changed) {
    this.service = service;
    this.changed = changed;
    this.list = byId("jobs");
  }

  /** Show the jobs of a collection that have not ended. */
  follow(collection) {
    if (collection?.name === this.#collection) return;
    this.#collection = collection?.name ?? null;
    this.#rows.clear();
    this.list.replaceChildren();
    if (collection) trying(() => this.#load(collection.name));
  }

  async #load(collection) {
    for (const state of ["running", "queued"]) {
      const query = new URLSearchParams({ collection, state });
      for (const job of await call(`/v1/jobs?${query}`)) this.add(job);
    }
  }

  /**
   * Show a job until it has ended, and what came of it.
   *
   * @param {object} job
   */
  async add(job) {
    if (this.#rows.has(job.id) || job.collection !== this.#collection) return;
    const row = h("li", { class: "job" });
    this.#rows.set(job.id, row);
    this.list.prepend(row);
    try {
      while (!ended(job) && row.isConnected) {
        this.#show(row, job);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        job = await call(`/v1/jobs/${encodeURIComponent(job.id)}`);
      }
    } catch (error) {
      return showTrouble(error);
    }
    if (!row.isConnected) return;
    this.#show(row, job);
    announce(saidOf(job));
    await trying(this.changed);
  }

  #show(row, job) {
    const writes = this.service.scopes.includes("write");
    const cancel = () => trying(() => call(`/v1/jobs/${encodeURIComponent(job.id)}`, { method: "DELETE" }));
    const remove = () => row.remove();
    const button = ended(job)
      ? h("button", { type: "button", class: "quiet", onclick: remove }, "Dismiss")
      : writes && h("button", { type: "button", class: "quiet", onclick: cancel }, "Cancel");
    const value = ended(job) || job.total === null ? {} : { value: job.done, max: job.total };
    const progress = !ended(job) && h("progress", { ...value, "aria-label": saidOf(job) });
    const had = row.contains(document.activeElement);
    row.replaceChildren(
      ...[h("div", { class: "job-row" }, h("p", {}, saidOf(job)), button), progress].filter(Boolean),
      ...refusedOf(job.refused),
    );
    row.classList.toggle("bad", job.state === "failed");
    if (had) row.querySelector("button")?.focus();
  }
}

function saidOf({ kind, state, done, total, report, error }) {
  const files = total === null ? counted(done, "file") : `${done} of ${counted(total, "file")}`;
  if (state === "queued") return `${NAMES[kind]} waits to be indexed.`;
  if (state === "running") return `Indexing: ${files}.`;
  const did = ["added", "updated", "unchanged", "removed"]
    .filter((each) => report[each])
    .map((each) => `${report[each]} ${each}`)
    .join(", ");
  const outcome = did || "nothing changed";
  if (state === "done") return `${NAMES[kind]} indexed: ${outcome}.`;
  if (state === "cancelled") return `${NAMES[kind]} cancelled after ${files}: ${outcome}.`;
  return `${NAMES[kind]} failed: ${error}`;
}

/** @param {{name: string, reason: string}[]} refused */
export function refusedOf(refused) {
  if (refused.length === 0) return [];
  const rows = refused.map(({ name, reason }) => h("li", {}, h("b", {}, name), `: ${reason}`));
  return [h("p", {}, "Not taken:"), h("ul", { class: "refused" }, ...rows)];
}
