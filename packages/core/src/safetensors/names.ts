/** Names of tensors and keys of metadata: which can be stored, how they sort, how messages show them. */

/** The one key of a header that is no tensor: string → string, free for its writer. */
export const METADATA_KEY = "__metadata__";

/** Whether the format can hold a tensor of this name. */
export function isTensorName(name: string): boolean {
  return name !== METADATA_KEY && isWellFormed(name);
}

/** Whether a string has no lone surrogates, so that UTF-8 can hold it. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}

/**
 * Sorts by name as the names' UTF-8 bytes sort, and returns the items. JavaScript's own order is that of
 * UTF-16, where surrogates stand for what lies above U+FFFF and yet come before U+E000.
 */
export function sortByName<T>(items: readonly T[], nameOf: (item: T) => string): T[] {
  // Most names are of ASCII, in which the two orders are one.
  if (!items.some((item) => /[\ud800-\uffff]/.test(nameOf(item)))) {
    return [...items].sort((a, b) => compare(nameOf(a), nameOf(b)));
  }
  const keyed = items.map((item) => ({ item, key: nameOf(item).replace(/[\ud800-\uffff]/g, swapHalves) }));
  keyed.sort((a, b) => compare(a.key, b.key));
  return keyed.map(({ item }) => item);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Puts the surrogates behind U+E000 … U+FFFF, so that UTF-16 units compare as code points do. */
function swapHalves(unit: string): string {
  const code = unit.charCodeAt(0);
  return String.fromCharCode(code >= 0xe000 ? code - 0x800 : code + 0x2000);
}

/** A name for a message: in quotes, its control characters escaped, a long one shortened to its ends. */
export function quoted(name: string): string {
  return JSON.stringify(name.length <= 120 ? name : `${name.slice(0, 80)}…${name.slice(-30)}`);
}
