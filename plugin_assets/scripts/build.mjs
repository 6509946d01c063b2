// Bundles src/ into dist: index.js, which TensorBoard imports, what it and the opened probe share (chunk.js), and the
// opened probe, loaded when first asked for (ProbeView.js). Collects the licences of what is in them.
// `node scripts/build.mjs --out DIR` writes elsewhere, so that a test can compare a fresh build with the committed one.
import { build, transform } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = process.argv.indexOf("--out");
const out = at > 0 ? process.argv[at + 1] : join(root, "dist");
/** Bytes of what the first view loads, and of the rest. */
const LIMITS = { first: 150_000, "ProbeView.js": 60_000 };

/** Style sheets are texts in the bundle; as small as the code around them. */
const smallStyles = {
  name: "small-styles",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true, target: "chrome112" });
      return { contents: code, loader: "text" };
    });
  },
};

const result = await build({
  absWorkingDir: root,
  entryPoints: ["src/index.tsx"],
  bundle: true,
  splitting: true,
  outdir: out,
  // The server has a fixed table of files: no hashes in names. Two entries share one chunk; a second one would clash.
  chunkNames: "[name]",
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "ascii",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  plugins: [smallStyles],
  metafile: true,
  write: false,
  logLevel: "warning",
});

const packages = new Set();
for (const path of Object.keys(result.metafile.inputs)) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
  if (found) packages.add(found[1]);
}
const licences = [];
for (const name of [...packages].sort()) {
  const folder = join(root, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const text = (await readFile(join(folder, "LICENSE"), "utf8")).trim();
  licences.push(`${name} ${version} (${license})\n\n${text}\n`);
}

const sizes = Object.fromEntries(result.outputFiles.map(({ path, contents }) => [basename(path), contents.length]));
const names = Object.keys(sizes).sort().join(", ");
if (names !== "ProbeView.js, chunk.js, index.js") throw new Error(`built ${names}: lrp_monitor/plugin/app.py serves other files`);
sizes.first = sizes["index.js"] + sizes["chunk.js"];
for (const [name, limit] of Object.entries(LIMITS)) {
  if (sizes[name] > limit) throw new Error(`${name}: ${sizes[name]} bytes; the limit is ${limit}`);
}
await mkdir(out, { recursive: true });
for (const { path, contents } of result.outputFiles) await writeFile(path, contents);
await writeFile(join(out, "LICENSES.txt"), `The scripts contain code of:\n\n${licences.join("\n---\n\n")}`);
console.log(`${out}: ${sizes.first} bytes for the first view, ${sizes["ProbeView.js"]} more for a probe; contains ${[...packages].join(", ")}`);
