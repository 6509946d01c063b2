// Loads what the view wants, most wanted first, and keeps what was loaded within a budget of bytes.

export interface Job<Value> {
  key: string;
  /** `known`: what is kept under the key, but is not enough. */
  load: (known: Value | undefined) => Promise<Value>;
  bytes: (value: Value) => number;
  /** Whether what is kept will do; without this it does. */
  enough?: (known: Value) => boolean;
  /** State of what is asked for, where that changes under one key: a failure counts for that state alone. */
  state?: string;
  /** Values of one pool share a budget: small ones are not dropped to make room for large ones. */
  pool?: string;
}

interface Kept<Value> {
  value: Value;
  bytes: number;
  pool: string;
}

interface Failure {
  message: string;
  state: string | undefined;
}

/**
 * `want` replaces the list of wishes: jobs that wait and are no longer wished for are dropped, jobs under way finish
 * (a half-loaded neighbour is worth more than a cancelled one). A failure is kept under its key until `retry`. What is
 * dropped to stay within `budget` (of each pool) is loaded again where it is wanted again: the only second request.
 */
export class Loader<Value> {
  private wishes: Job<Value>[] = [];
  private readonly kept = new Map<string, Kept<Value>>(); // least recently used first
  private readonly failures = new Map<string, Failure>();
  private readonly underWay = new Set<string>();
  private readonly bytes = new Map<string, number>();

  constructor(
    private readonly budget: number,
    private readonly parallel: number,
    private readonly arrived: (key: string) => void,
  ) {}

  want(jobs: Job<Value>[]): void {
    this.wishes = jobs;
    this.pump();
  }

  get(key: string): Value | undefined {
    const found = this.kept.get(key);
    if (!found) return undefined;
    this.kept.delete(key);
    this.kept.set(key, found);
    return found.value;
  }

  failure(key: string): string | undefined {
    return this.failures.get(key)?.message;
  }

  /** Forgets the failures, so that what is still wanted is asked for again. */
  retry(): void {
    this.failures.clear();
    this.pump();
  }

  get keptBytes(): number {
    return [...this.bytes.values()].reduce((a, b) => a + b, 0);
  }

  private pump(): void {
    for (const job of this.wishes) {
      if (this.underWay.size >= this.parallel) return;
      const known = this.kept.get(job.key);
      if (known && (job.enough?.(known.value) ?? true)) continue;
      const failure = this.failures.get(job.key);
      if ((failure && failure.state === job.state) || this.underWay.has(job.key)) continue;
      this.underWay.add(job.key);
      void this.run(job);
    }
  }

  private async run(job: Job<Value>): Promise<void> {
    try {
      this.keep(job, await job.load(this.kept.get(job.key)?.value));
      this.failures.delete(job.key);
    } catch (error) {
      this.failures.set(job.key, { message: error instanceof Error ? error.message : String(error), state: job.state });
    } finally {
      this.underWay.delete(job.key);
    }
    this.pump();
    this.arrived(job.key);
  }

  private keep({ key, bytes: bytesOf, pool = "" }: Job<Value>, value: Value): void {
    const bytes = bytesOf(value);
    let used = (this.bytes.get(pool) ?? 0) + bytes - (this.kept.get(key)?.bytes ?? 0);
    this.kept.delete(key);
    this.kept.set(key, { value, bytes, pool });
    const wished = new Set(this.wishes.map((job) => job.key));
    for (const [old, entry] of this.kept) {
      if (used <= this.budget) break;
      if (wished.has(old) || entry.pool !== pool) continue;
      this.kept.delete(old);
      used -= entry.bytes;
    }
    this.bytes.set(pool, used);
  }
}
