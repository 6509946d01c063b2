// The last resort: the page could not be built, or broke while it was drawn.
import { Component, type ComponentChildren, type JSX } from "preact";

export function Failure({ error }: { error: unknown }): JSX.Element {
  return (
    <div class="failure" role="alert" data-testid="failure">
      <h1>The LRP page stopped with an error</h1>
      <p>The logged data is not affected. Reloading the page may help; if it does not, this text belongs in the report:</p>
      <pre>{error instanceof Error ? (error.stack ?? error.message) : String(error)}</pre>
      <button type="button" onClick={() => window.location.reload()}>
        Reload the page
      </button>
    </div>
  );
}

/** Shows Failure in place of children that throw while drawing. */
export class Guard extends Component<{ children: ComponentChildren }, { error: unknown }> {
  override state = { error: null as unknown };

  override componentDidCatch(error: unknown): void {
    console.error(error);
    this.setState({ error });
  }

  override render(): ComponentChildren {
    return this.state.error === null ? this.props.children : <Failure error={this.state.error} />;
  }
}
