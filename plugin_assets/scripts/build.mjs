// Bundles src/ into dist/index.js, one ES module that TensorBoard imports, and collects the licences of what is in it.
// `node scripts/build.mjs --out DIR` writes elsewhere, so that a test can compare a fresh build with the committed one.
import { build, transform } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = process.argv.indexOf("--out");
const out = at > 0 ? process.argv[at + 1] : join(root, "dist");
const LIMIT = 150_000;

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

const code = result.outputFiles[0].contents;
if (code.length > LIMIT) throw new Error(`the bundle has ${code.length} bytes; the limit is ${LIMIT}`);
await mkdir(out, { recursive: true });
await writeFile(join(out, "index.js"), code);
await writeFile(join(out, "LICENSES.txt"), `index.js contains code of:\n\n${licences.join("\n---\n\n")}`);
console.log(`${join(out, "index.js")}: ${code.length} bytes; contains ${[...packages].join(", ")}`);
