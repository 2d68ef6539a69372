import { Poll, type ClusterOverview, type EventList, type NodeList, type PodList } from '@alcove/api';
import { app } from './app.svelte';

/**
 * What is known about the cluster. Pages share it: what one has read, another shows at once and reads again; what no page
 * looks at is not read.
 */
export const cluster = {
  overview: new Poll<ClusterOverview>((signal) => app.live.client.overview(signal), 8000),
  nodes: new Poll<NodeList>((signal) => app.live.client.nodes(signal), 5000),
  pods: new Poll<PodList>((signal) => app.live.client.pods(signal), 3000),
  events: new Poll<EventList>((signal) => app.live.client.events(signal), 5000),
};

/** Forgets it all: the cluster rests, and what comes after may be another one. */
export function forgetCluster(): void {
  for (const poll of Object.values(cluster)) poll.forget();
}
