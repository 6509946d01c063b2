// What a view has loaded. The model keeps it while another view is open: opened again, it asks for nothing twice.
import { Loader } from "../data/loader";

export abstract class ViewCache {
  /** Draws the view, while it is open. */
  changed: () => void = () => undefined;
  private readonly loaders: { want: (jobs: never[]) => void }[] = [];

  /** Its view was closed: what has not been asked for yet is not wanted. */
  close(): void {
    for (const loader of this.loaders) loader.want([]);
  }

  protected loaderOf<Value>(budget: number, parallel: number): Loader<Value> {
    const loader = new Loader<Value>(budget, parallel, () => this.changed());
    this.loaders.push(loader);
    return loader;
  }
}
