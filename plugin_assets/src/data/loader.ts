// Loads what the view wants, most wanted first, and keeps what was loaded within a budget of bytes.

export interface Job<Value> {
  key: string;
  /** `known`: what is kept under the key, but is not enough. */
  load: (known: Value | undefined) => Promise<Value>;
  bytes: (value: Value) => number;
  /** Whether what is kept will do; without this it does. */
  enough?: (known: Value) => boolean;
}

interface Kept<Value> {
  value: Value;
  bytes: number;
}

/**
 * `want` replaces the list of wishes: jobs that wait and are no longer wished for are dropped, jobs under way finish
 * (a half-loaded neighbour is worth more than a cancelled one). A failure is kept under its key until `retry`.
 */
export class Loader<Value> {
  private wishes: Job<Value>[] = [];
  private readonly kept = new Map<string, Kept<Value>>(); // least recently used first
  private readonly failures = new Map<string, string>();
  private readonly underWay = new Set<string>();
  private bytes = 0;

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
    return this.failures.get(key);
  }

  /** Forgets the failures, so that what is still wanted is asked for again. */
  retry(): void {
    this.failures.clear();
    this.pump();
  }

  get keptBytes(): number {
    return this.bytes;
  }

  private pump(): void {
    for (const job of this.wishes) {
      if (this.underWay.size >= this.parallel) return;
      const known = this.kept.get(job.key);
      if (known && (job.enough?.(known.value) ?? true)) continue;
      if (this.failures.has(job.key) || this.underWay.has(job.key)) continue;
      this.underWay.add(job.key);
      void this.run(job);
    }
  }

  private async run(job: Job<Value>): Promise<void> {
    try {
      this.keep(job.key, await job.load(this.kept.get(job.key)?.value), job.bytes);
    } catch (error) {
      this.failures.set(job.key, error instanceof Error ? error.message : String(error));
    } finally {
      this.underWay.delete(job.key);
    }
    this.pump();
    this.arrived(job.key);
  }

  private keep(key: string, value: Value, bytesOf: (value: Value) => number): void {
    const bytes = bytesOf(value);
    this.bytes += bytes - (this.kept.get(key)?.bytes ?? 0);
    this.kept.delete(key);
    this.kept.set(key, { value, bytes });
    const wished = new Set(this.wishes.map((job) => job.key));
    for (const [old, { bytes: size }] of this.kept) {
      if (this.bytes <= this.budget) break;
      if (wished.has(old)) continue;
      this.kept.delete(old);
      this.bytes -= size;
    }
  }
}
