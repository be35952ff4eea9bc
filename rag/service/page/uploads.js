/** Sending files, by a button or by dropping them. */

import { authorization, failureOf, pathOf, unreachable } from "./api.js";
import { byId, h } from "./dom.js";
import { showTrouble } from "./failures.js";
import { refusedOf } from "./jobs.js";
import { bytes, counted } from "./wording.js";

/**
 * @param {object} service
 * @param {import("./collections.js").Collections} collections
 * @param {import("./jobs.js").Jobs} jobs
 */
export function startUploads(service, collections, jobs) {
  const zone = byId("dropzone");
  const input = byId("files");
  const accepts = service.suffixes.join(", ");
  input.accept = service.suffixes.join(",");
  byId("upload-says").textContent = `${accepts}; up to ${bytes(service.file_bytes)} each`;
  byId("choose-files").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    upload([...input.files]);
    input.value = "";
  });

  // A file that misses the zone must not replace the page.
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => event.preventDefault());
  zone.addEventListener("dragover", () => zone.classList.add("over"));
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    zone.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((each) => each.webkitGetAsEntry?.());
    const folders = entries.filter((each) => each?.isDirectory).map(({ name }) => name);
    upload([...event.dataTransfer.files], folders);
  });

  const reasonAgainst = ({ name, size }, folders) => {
    if (folders.includes(name)) return "a folder; drop the files that are in it";
    return size > service.file_bytes ? `larger than ${bytes(service.file_bytes)}` : null;
  };

  async function upload(files, folders = []) {
    const taken = files.filter((file) => !reasonAgainst(file, folders));
    const refused = files
      .filter((file) => !taken.includes(file))
      .map((file) => ({ name: file.name, reason: reasonAgainst(file, folders) }));
    const row = h("li", { class: "job" }, ...refusedOf(refused));
    byId("jobs").prepend(row);
    showTrouble(null);
    try {
      if (taken.length) jobs.add(await sent(pathOf(collections.current.name, "/documents"), taken, row));
    } catch (error) {
      if (error.name !== "AbortError") showTrouble(error);
    }
    if (refused.length) row.replaceChildren(...refusedOf(refused));
    else row.remove();
  }
}

/** Send files, and show how far that is: fetch does not tell. */
function sent(path, files, row) {
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  const request = new XMLHttpRequest();
  const label = `Sending ${counted(files.length, "file")}`;
  const progress = h("progress", { max: 1, value: 0, "aria-label": label });
  const cancel = h("button", { type: "button", class: "quiet", onclick: () => request.abort() }, "Cancel");
  row.prepend(h("div", { class: "job-row" }, h("p", {}, `${label}.`), cancel), progress);
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    progress.value = total ? loaded / total : 0;
  });
  return new Promise((resolve, reject) => {
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
    request.addEventListener("load", () => {
      const { status, responseText } = request;
      if (status === 202) resolve(JSON.parse(responseText));
      else reject(failureOf(status, responseText, (name) => request.getResponseHeader(name)));
    });
    request.open("POST", path);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.send(form);
  });
}
