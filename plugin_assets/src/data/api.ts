// Requests to the plugin's routes. The page's <base> is the plugin's own folder, whatever path TensorBoard runs under.
import { decodeProbes, decodeStep, type Frame, type ProbePictures } from "./decode";
import type { Since } from "./tail";
import type { HistogramAnswer, RunInfo, RunListing, TensorKind, WatchedLayer } from "./types";

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

type Source = (route: string, parameters: Record<string, string | number>) => Promise<Response>;
let source: Source | null = null;

/** Has routes answered by `answers` in place of a server. */
export const answerFrom = (answers: Source): void => {
  source = answers;
};

/** Whether a server answers; else it is the data inside the page, which may hold less. */
export const hasServer = (): boolean => source === null;

/** Asks a route; throws ApiError with the reason. `priority`: which of those that wait goes first, as browsers open few connections. */
export async function request(route: string, parameters: Record<string, string | number>, priority: RequestPriority = "auto"): Promise<Response> {
  if (source) return source(route, parameters);
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) query.set(key, String(value));
  const url = query.size ? `./${route}?${query.toString()}` : `./${route}`;
  let response: Response;
  try {
    response = await fetch(url, { priority });
  } catch {
    throw new ApiError("The server does not answer. Is TensorBoard, or lrp-monitor view, still running?", 0);
  }
  if (!response.ok) {
    const text = (await response.text()).trim();
    throw new ApiError(text && text.length < 2000 ? text : `${route}: the server answered ${response.status}`, response.status);
  }
  return response;
}

export const json = async <Answer>(route: string, parameters: Record<string, string | number>, priority?: RequestPriority): Promise<Answer> =>
  (await (await request(route, parameters, priority)).json()) as Answer;

/** The runs; with the scalars of their last steps that `values` names ("lrp/*": all below it). */
export const fetchRuns = async (values: readonly string[] = []): Promise<RunListing[]> =>
  (await json<{ runs: RunListing[] }>("runs", values.length ? { values: values.join(",") } : {})).runs;

const after = (run: string, since: Since | null): Record<string, string | number> =>
  since === null ? { run } : { run, since: since.step, session: since.session };

export const fetchRun = (run: string, since: Since | null): Promise<RunInfo> => json("run", after(run, since));

/** A run as far as its first heatmaps need it. */
export const fetchBriefRun = (run: string): Promise<RunInfo> => json("run", { run, brief: 1 });

/** Step -> cluster of each probe, as logged or found afterwards. */
export async function fetchClusters(run: string): Promise<Map<number, number[]>> {
  const { clusters } = await json<{ clusters: { step: number; labels: number[] }[] }>("clusters", { run }, "low");
  return new Map(clusters.map(({ step, labels }) => [step, labels]));
}

const layersAsked = new Map<string, { state: string; answer: Promise<WatchedLayer[]> }>();

/** The watched layers of a run, asked for once in each `state` of its log, whichever views need them. */
export function fetchLayers(run: string, state: string): Promise<WatchedLayer[]> {
  const known = layersAsked.get(run);
  if (known?.state === state) return known.answer;
  const answer = json<{ layers: WatchedLayer[] }>("features", { run }).then(({ layers }) => layers);
  layersAsked.set(run, { state, answer });
  answer.catch(() => layersAsked.get(run)?.answer === answer && layersAsked.delete(run));
  return answer;
}

/** The runs of this TensorBoard, of whatever plugin, in its own order. */
export const fetchAllRunNames = async (): Promise<string[]> => {
  const answer = await json<unknown>("../../runs", {});
  return Array.isArray(answer) ? answer.filter((name): name is string => typeof name === "string") : [];
};

export const fetchHistogram = (
  run: string,
  step: number,
  session: string,
  kind: TensorKind,
  name: string,
): Promise<HistogramAnswer> => json("histogram", { run, step, session, kind, name });

/** A step with the heatmaps of some probes, by their places. */
export const fetchStep = async (run: string, step: number, session: string, probes: readonly number[]): Promise<Frame> =>
  decodeStep(await (await request("step", { run, step, session, probes: probes.join(",") }, "high")).arrayBuffer(), probes);

/** The inputs and masks of some probes of a set, by their places; null: of all. */
export const fetchProbes = async (run: string, hash: string, probes: readonly number[] | null): Promise<ProbePictures> =>
  decodeProbes(await (await request("probes", { run, hash, ...(probes ? { probes: probes.join(",") } : {}) }, probes ? "auto" : "low")).arrayBuffer());
