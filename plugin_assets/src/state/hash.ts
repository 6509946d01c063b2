// The hash of TensorBoard's address: "#tab&key=value&...". Keys of plugins start with "p.<plugin>.".

const PLUGIN = "lrp_monitor";
const PREFIX = `p.${PLUGIN}.`;

/** What a hash begins with that names our tab. */
export const OWN_HASH = PLUGIN;

/** Whether the hash names our tab as the one in front. */
export const ownsHash = (hash: string): boolean => new RegExp(`^#${PLUGIN}(&|$)`).test(hash);

/** Splits a URL hash into its components; ours are decoded, everybody else's kept as they are. */
export function readHash(hash: string): { foreign: string[]; own: Map<string, string> } {
  const foreign: string[] = [];
  const own = new Map<string, string>();
  for (const part of hash.replace(/^#/, "").split("&")) {
    const equals = part.indexOf("=");
    const key = equals < 0 ? "" : safeDecode(part.slice(0, equals));
    if (key.startsWith(PREFIX)) own.set(key.slice(PREFIX.length), safeDecode(part.slice(equals + 1)));
    else if (part !== "") foreign.push(part);
  }
  return { foreign, own };
}

/** The hash with our parameters replaced by `values`; other components keep their place and spelling. */
export function writeHash(hash: string, values: ReadonlyMap<string, string>): string {
  const { foreign } = readHash(hash);
  const own = [...values].map(([key, value]) => `${encodeURIComponent(PREFIX + key)}=${encodeURIComponent(value)}`);
  return "#" + [...foreign, ...own].join("&");
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone % in a link that was typed by hand
  }
}
