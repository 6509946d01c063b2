// TensorBoard's message channel to plugin frames: JSON texts over a MessagePort that the frame hands to its parent.
// Each message is {type, id, payload, error, isReply}; whoever gets one that is not a reply must reply.

interface Message {
  type: string;
  id: number;
  payload: unknown;
  error: string | null;
  isReply: boolean;
}

export class MessageChannelClient {
  private readonly port: MessagePort;
  private readonly listeners = new Map<string, () => void>();

  constructor(parent: Window) {
    const channel = new MessageChannel();
    this.port = channel.port1;
    this.port.addEventListener("message", (event) => this.receive(String(event.data)));
    this.port.start();
    parent.postMessage("experimental.bootstrap", window.location.origin, [channel.port2]);
  }

  listen(type: string, listener: () => void): void {
    this.listeners.set(type, listener);
  }

  private receive(text: string): void {
    const message = JSON.parse(text) as Message;
    if (message.isReply) return; // we ask nothing, so nothing waits for an answer
    this.listeners.get(message.type)?.();
    const reply: Message = { type: message.type, id: message.id, payload: null, error: null, isReply: true };
    this.port.postMessage(JSON.stringify(reply));
  }
}
