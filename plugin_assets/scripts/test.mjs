// Runs test/*.test.ts: esbuild turns each into a module in a temporary folder, node's own runner runs them.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const sources = (await readdir(join(root, "test"))).filter((name) => name.endsWith(".test.ts")).sort();
if (sources.length === 0) throw new Error("no tests in test/");
const folder = await mkdtemp(join(tmpdir(), "lrp-dashboard-test-"));
try {
  await build({
    absWorkingDir: root,
    entryPoints: sources.map((name) => join("test", name)),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    jsx: "automatic",
    jsxImportSource: "preact",
    loader: { ".css": "text" },
    logLevel: "warning",
  });
  const files = sources.map((name) => join(folder, name.replace(/\.ts$/, ".mjs")));
  process.exitCode = spawnSync(process.execPath, ["--test", ...files], { stdio: "inherit" }).status ?? 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
