/** Numbers and sentences for people. */

const whole = new Intl.NumberFormat("en");

/** @param {number} value */
export const count = (value) => whole.format(Math.round(value));

/** @param {number} value @param {string} noun @param {string} plural */
export const counted = (value, noun, plural = `${noun}s`) =>
  `${count(value)} ${Math.round(value) === 1 ? noun : plural}`;

/** @param {number} value */
export const seconds = (value) => (value < 10 ? `${value.toFixed(1)} s` : `${count(value)} s`);

/** @param {number} value */
export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = value < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(value) / 10));
  const scaled = value / 1024 ** power;
  return `${power && scaled < 10 ? scaled.toFixed(1) : count(scaled)} ${units[power]}`;
}

/**
 * Make a sentence of what a program says.
 *
 * @param {string} text
 */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]["'”’)]?$/.test(begun) ? begun : `${begun}.`;
}

/** @param {string} moment ISO 8601 */
export const moment = (moment) => {
  const date = new Date(moment);
  return Number.isNaN(date.valueOf())
    ? moment
    : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
};

/**
 * Round to two significant digits.
 *
 * @param {number} value
 */
export const rounded = (value) => Number(value.toPrecision(2));
