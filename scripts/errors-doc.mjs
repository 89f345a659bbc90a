// Writes docs/errors.md out of the one list of codes. A test fails if the two differ.
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ERROR_CODES } from "@holdfast/core";

export const ERRORS_DOC = fileURLToPath(new URL("../docs/errors.md", import.meta.url));

export function errorsDoc() {
  const rows = Object.entries(ERROR_CODES).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`);
  return `# Error codes

Every error is a \`HoldfastError\` with one of these codes, a message that says what happened where and what to do,
and a \`cause\` where something else failed first. Codes are stable: match on them, not on messages.

\`\`\`ts
import { isHoldfastError } from "@holdfast/core";

if (isHoldfastError(error, "STORAGE_FULL")) console.error("make room:", error.message);
\`\`\`

| code | meaning, and what to do |
| --- | --- |
${rows.join("\n")}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(ERRORS_DOC, errorsDoc());
