/**
 * Names that come from storage or from users and become names of files. Nothing becomes a path before
 * it was checked here.
 */

// Windows refuses these whatever their ending, and a checkpoint should be movable between machines.
const RESERVED = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)/i;
const SEGMENT = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/** Whether `path` is a relative name with `/` that cannot leave its directory on any system. */
export function isSafePath(path: string): boolean {
  return path.length > 0 && path.length <= 1024 && path.split("/").every(isSafeName);
}

/** Whether `name` can be one segment of a path: letters, digits, `_`, `.` and `-`, no leading dot. */
export function isSafeName(name: string): boolean {
  return name.length <= 200 && SEGMENT.test(name) && !name.endsWith(".") && !RESERVED.test(name);
}
