// The rows of the network as a tree by the parts of their names, each branch in sum: what its largest row is.
import type { Row } from "./matrix";

export interface Node {
  /** Where it stands: the path of a branch with "/" at its end, or the name of a row. */
  path: string;
  /** What is left of the path below its branch. */
  label: string;
  depth: number;
  row: Row;
  /** How many rows a branch holds; 0: it is a row itself. */
  members: number;
  open: boolean;
}

/** Rows one below the other, without branches. */
export const flat = (rows: readonly Row[]): Node[] => rows.map((row) => ({ path: row.name, label: row.name, depth: 0, row, members: 0, open: false }));

/** Branches and the rows in those that are open, in the order of `rows`. A branch with one row alone is that row. */
export function treeOf(rows: readonly Row[], isOpen: (path: string, depth: number) => boolean): Node[] {
  const out: Node[] = [];
  walk(rows, 0, 0, isOpen, out);
  return out;
}

/** How deep branches are open at first, so that at most about `most` rows are seen. */
export function openDepth(rows: readonly Row[], most: number): number {
  let last = -1;
  for (let depth = 0; ; depth++) {
    const count = treeOf(rows, (_, at) => at < depth).length;
    if (count > most || count === last) return Math.max(0, depth - 1);
    last = count;
  }
}

/** The paths of all branches. */
export function branchesOf(rows: readonly Row[]): Pick<Node, "path" | "depth">[] {
  return treeOf(rows, () => true).filter(({ members }) => members > 0);
}

function walk(rows: readonly Row[], from: number, depth: number, isOpen: (path: string, depth: number) => boolean, out: Node[]): void {
  const branches = new Map<string, Row[]>();
  for (const row of rows) {
    const end = row.name.indexOf("/", from);
    const key = end < 0 ? row.name : row.name.slice(0, end + 1);
    branches.set(key, [...(branches.get(key) ?? []), row]);
  }
  for (const members of branches.values()) {
    const first = members[0]!;
    if (members.length === 1) {
      out.push({ path: first.name, label: first.name.slice(from), depth, row: first, members: 0, open: false });
      continue;
    }
    const path = commonBranch(members.map(({ name }) => name));
    const open = isOpen(path, depth);
    out.push({ path, label: path.slice(from), depth, row: largest(path, members), members: members.length, open });
    if (open) walk(members, path.length, depth + 1, isOpen, out);
  }
}

/** The longest path that all names begin with, up to a "/". */
function commonBranch(names: readonly string[]): string {
  let common = names[0]!;
  for (const name of names) while (!name.startsWith(common)) common = common.slice(0, common.lastIndexOf("/", common.length - 2) + 1);
  return common.slice(0, common.lastIndexOf("/") + 1);
}

/** The largest value of several rows at each step, not finite where any of them is not. */
function largest(name: string, rows: readonly Row[]): Row {
  const { length } = rows[0]!.values;
  const values = new Float64Array(length).fill(NaN);
  const broken = new Uint8Array(length);
  for (const row of rows) {
    for (let i = 0; i < length; i++) {
      if (row.broken[i]) broken[i] = 1;
      const one = row.values[i]!;
      if (!(one <= values[i]!) && one === one) values[i] = one;
    }
  }
  return { name, values, broken };
}
