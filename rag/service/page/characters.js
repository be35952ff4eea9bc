/** Offsets: the service counts code points, JavaScript counts UTF-16 units. */

/**
 * Return where a code point begins in a string.
 *
 * @param {string} text
 * @param {number} codePoints How many code points are before it.
 * @returns {number} How many UTF-16 units are before it; at most the string's length.
 */
export function unitOffset(text, codePoints) {
  let units = 0;
  for (let seen = 0; seen < codePoints && units < text.length; seen += 1) {
    units += text.codePointAt(units) > 0xffff ? 2 : 1;
  }
  return units;
}
