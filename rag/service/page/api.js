/** Requests to the service, the key they carry, and how they fail. */

import { serverSentEvents } from "./events.js";

const KEY = "ragmeter-key";

/** The API key; it is kept until the tab is closed, and in no other tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

/** A request that was not carried out. */
export class Failure extends Error {
  /**
   * @param {string} message A sentence for people.
   * @param {{status?: number, code?: string, requestId?: string, retryAfter?: number | null}} more
   */
  constructor(message, { status = 0, code = "", requestId = "", retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { status, code, requestId, retryAfter });
  }
}

/** The service could not be reached at all. */
export const unreachable = () =>
  new Failure("The service cannot be reached. Check that it runs, then try again.", {
    code: "unreachable",
  });

/**
 * Say how a reply tells an error.
 *
 * @param {number} status
 * @param {string} body
 * @param {(name: string) => string | null} header
 */
export function failureOf(status, body, header) {
  const waits = Number.parseInt(header("Retry-After") ?? "", 10);
  const more = { status, retryAfter: Number.isNaN(waits) ? null : waits };
  try {
    const { message, code, request_id: requestId } = JSON.parse(body).error;
    return new Failure(message, { ...more, code, requestId });
  } catch {
    return new Failure(`The service answered with status ${status}.`, more);
  }
}

/** @type {() => Promise<boolean>} */
let askForKey = async () => false;

/**
 * Set what asks for a key where the service wants one; it says whether there is a new one.
 *
 * @param {() => Promise<boolean>} ask
 */
export function whenKeyIsNeeded(ask) {
  let asking = null; // requests that are refused together ask once
  askForKey = () => (asking ??= ask().finally(() => (asking = null)));
}

/** @param {string | null} secret */
const bearing = (secret) => (secret ? { Authorization: `Bearer ${secret}` } : {});

/** The headers that every request carries. */
export const authorization = () => bearing(key.get());

/**
 * Sign in.
 *
 * @param {string} secret
 * @throws {Failure} The service does not take it.
 */
export async function signIn(secret) {
  if (!/^[!-~]+$/.test(secret)) throw new Failure("That is not an API key.");
  const response = await reach("/v1/service", { headers: bearing(secret) });
  if (response.status === 401) throw new Failure("The service does not take this key.");
  key.set(secret);
}

/**
 * Send a request, and ask for a key first where the service wants one.
 *
 * @param {string} path
 * @param {{method?: string, body?: object, signal?: AbortSignal}} options
 * @returns {Promise<Response>}
 */
export async function send(path, { method = "GET", body, signal } = {}) {
  const sent = key.get();
  const headers = { ...bearing(sent), ...(body && { "Content-Type": "application/json" }) };
  const response = await reach(path, { method, headers, body: body && JSON.stringify(body), signal });
  if (response.ok) return response;
  if (response.status === 401 && (key.get() !== sent || (await askForKey()))) {
    return send(path, { method, body, signal });
  }
  throw failureOf(response.status, await response.text(), (name) => response.headers.get(name));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
}

/**
 * Send a request and return what it replies; null where that is nothing.
 *
 * @param {string} path
 * @param {{method?: string, body?: object, signal?: AbortSignal}} options
 */
export async function call(path, options = {}) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

/**
 * Ask a question, and yield what happens while it is answered.
 *
 * @param {object} request
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* answering(request, signal) {
  const body = { ...request, stream: true };
  const response = await send("/v1/answer", { method: "POST", body, signal });
  try {
    for await (const { event, data } of serverSentEvents(response.body)) {
      yield { event, data: JSON.parse(data) };
    }
  } catch (error) {
    throw error instanceof TypeError ? unreachable() : error;
  }
}

/** @param {string} collection @param {string} rest */
export const pathOf = (collection, rest = "") =>
  `/v1/collections/${encodeURIComponent(collection)}${rest}`;

/** @param {string} collection @param {string} id */
export const documentPath = (collection, id) =>
  pathOf(collection, `/document?id=${encodeURIComponent(id)}`);
