// Bundles src/ into dist: index.js, which TensorBoard imports, the first view (chunk.js), and the other views, each
// loaded when first asked for. Collects the licences of what is in them.
// `node scripts/build.mjs --out DIR` writes elsewhere, so that a test can compare a fresh build with the committed one.
import { build, transform } from "esbuild";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = process.argv.indexOf("--out");
const out = at > 0 ? resolve(process.argv[at + 1]) : join(root, "dist");
/** Bytes of what the first view loads, and of each other file. */
const LIMITS = { first: 135_000, other: 60_000 };
/** The modules that are loaded when first asked for: `import("...")` in the sources. */
const LAZY = [
  "data/embedded.ts",
  "events/Events.tsx",
  "features/Features.tsx",
  "help/Help.tsx",
  "kinds/Controls.tsx",
  "kinds/drawing.ts",
  "overview/Network.tsx",
  "probe/ProbeView.tsx",
  "runs/RunTable.tsx",
  "share/grid.ts",
  "share/tables.ts",
  "ui/ClassMapCell.tsx",
  "ui/Empty.tsx",
  "ui/Film.tsx",
  "ui/OpenedProbe.tsx",
  "ui/Panels.tsx",
  "ui/Readout.tsx",
  "ui/Settings.tsx",
];

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

/**
 * Has each of LAZY import the first view, which is there when they are asked for: all of it is then one file, in place
 * of one for every set of views that share a part of it.
 */
const oneFirstView = {
  name: "one-first-view",
  setup({ onLoad }) {
    const files = LAZY.map((name) => join(root, "src", name));
    onLoad({ filter: /\.tsx?$/ }, async ({ path }) =>
      files.includes(path) ? { contents: `import "../index";\n${await readFile(path, "utf8")}`, loader: path.endsWith("x") ? "tsx" : "ts" } : undefined,
    );
  },
};

const result = await build({
  absWorkingDir: root,
  entryPoints: ["src/index.tsx"],
  bundle: true,
  splitting: true,
  outdir: out,
  chunkNames: "[name]-[hash]",
  format: "esm",
  target: "es2022",
  minify: true,
  charset: "ascii",
  legalComments: "none",
  jsx: "automatic",
  jsxImportSource: "preact",
  plugins: [smallStyles, oneFirstView],
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

// Names without hashes: a changed line must not rename files. The first view is what index.js imports.
const { outputs } = result.metafile;
const pathOf = ({ path }) => relative(root, path);
const first = outputs[pathOf(result.outputFiles.find(({ path }) => basename(path) === "index.js"))].imports[0].path;
const names = new Map();
let shared = 0;
for (const file of result.outputFiles) {
  const path = pathOf(file);
  const entry = outputs[path].entryPoint;
  if (path === first) names.set(basename(path), "chunk.js");
  else if (entry) names.set(basename(path), `${basename(entry).replace(/\.tsx?$/, "")}.js`);
  else names.set(basename(path), `shared${++shared}.js`);
}
const files = result.outputFiles.map(({ path, text }) => {
  for (const [old, name] of names) text = text.replaceAll(old, name);
  return { name: names.get(basename(path)), text };
});

const sizes = Object.fromEntries(files.map(({ name, text }) => [name, text.length]));
sizes.first = sizes["index.js"] + sizes["chunk.js"];
for (const [name, size] of Object.entries(sizes)) {
  const limit = ["first", "index.js", "chunk.js"].includes(name) ? LIMITS.first : LIMITS.other;
  if (size > limit) throw new Error(`${name}: ${size} bytes; the limit is ${limit}`);
}
await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
for (const { name, text } of files) await writeFile(join(out, name), text);
await writeFile(join(out, "LICENSES.txt"), `The scripts contain code of:\n\n${licences.join("\n---\n\n")}`);
const rest = files.map(({ name }) => name).filter((name) => !["index.js", "chunk.js"].includes(name));
console.log(`${out}: ${sizes.first} bytes for the first view; ${rest.map((name) => `${name} ${sizes[name]}`).join(", ")}`);
console.log(`contains ${[...packages].join(", ")}`);
