/** How a question is answered: budget, pipeline, web, filters; and what that would do. */

import { call } from "./api.js";
import { byId, h } from "./dom.js";
import { told } from "./failures.js";
import { count, counted, rounded, sentence } from "./wording.js";

/** Ten positions of the slider are a power of ten; the last is no limit. */
const LEAST = 100;
const POSITIONS = 34;

export class Options {
  #asking = new AbortController();
  #timer = 0;

  /** @param {object} service @param {import("./collections.js").Collections} collections */
  constructor(service, collections) {
    this.service = service;
    this.collections = collections;
    this.budget = byId("budget");
    this.pipeline = byId("pipeline");
    this.web = byId("web");
    this.where = byId("where");
    Object.assign(this.budget, { min: 0, max: POSITIONS, step: 1, value: POSITIONS });
    for (const { name, default: chosen } of service.pipelines) {
      this.pipeline.append(h("option", { value: name, selected: chosen }, name));
    }
    byId("web-option").hidden = !service.web;
    for (const each of [this.budget, this.pipeline]) {
      each.addEventListener("input", () => this.#show(150));
    }
    this.where.addEventListener("input", () => this.check());
    collections.addEventListener("change", () => this.#show(0));
  }

  /** The most tokens to read; null for no limit. */
  get tokens() {
    const position = Number(this.budget.value);
    return position === POSITIONS ? null : rounded(LEAST * 10 ** (position / 10));
  }

  /** Everything of a request but its question. */
  request() {
    const collection = this.collections.current?.name ?? null;
    const filter = this.where.value.trim();
    return {
      collection,
      web: this.service.web && (this.web.checked || collection === null),
      pipeline: this.pipeline.value || null,
      budget: { tokens: this.tokens },
      where: filter ? JSON.parse(filter) : null,
    };
  }

  /** Say whether the filter is one, and what is wrong with it if it is not. */
  check() {
    const wrong = wrongWith(this.where.value.trim());
    this.where.setAttribute("aria-invalid", String(wrong !== ""));
    byId("where-says").textContent = wrong;
    if (wrong) byId("options").open = true;
    return wrong === "";
  }

  #show(delay) {
    const limit = this.tokens === null ? "no limit" : counted(this.tokens, "token");
    byId("budget-value").textContent = limit;
    this.budget.setAttribute("aria-valuetext", limit);
    const chosen = this.service.pipelines.find(({ name }) => name === this.pipeline.value);
    byId("pipeline-says").textContent = chosen?.description ?? "";
    this.#asking.abort();
    this.#asking = new AbortController();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#plan(this.#asking.signal), delay);
  }

  async #plan(signal) {
    const collection = this.collections.current?.name ?? null;
    const query = new URLSearchParams();
    const values = { tokens: this.tokens, collection, pipeline: this.pipeline.value || null };
    for (const [name, value] of Object.entries(values)) if (value !== null) query.set(name, value);
    try {
      const plan = await call(`/v1/plan?${query}`, { signal });
      if (!signal.aborted) byId("plan").replaceChildren(...planOf(plan));
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("plan").replaceChildren(h("p", { class: "warn" }, told(error)));
    }
  }
}

function wrongWith(filter) {
  if (!filter) return "";
  try {
    const value = JSON.parse(filter);
    const object = typeof value === "object" && value !== null && !Array.isArray(value);
    return object ? "" : 'A filter is an object, such as {"year": {"gte": 2020}}.';
  } catch (error) {
    return `This is not JSON: ${error.message}`;
  }
}

/** @param {object} plan */
function planOf({ pipeline, strategy, documents, examples, steps, tokens, quality, reason }) {
  const facts = [
    [strategy ? `${pipeline}: ${strategy}` : pipeline, "pipeline"],
    documents > 0 && [count(documents), documents === 1 ? "passage" : "passages"],
    examples > 0 && [count(examples), examples === 1 ? "example" : "examples"],
    steps > 1 && [`up to ${count(steps)}`, "steps"],
    tokens !== null && [`about ${count(rounded(tokens))}`, "tokens"],
    quality !== null && [quality.toFixed(2), "expected quality"],
  ].filter(Boolean);
  const list = facts.map(([value, name]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  return [h("dl", {}, ...list), h("p", { class: "muted" }, sentence(reason))];
}
