/** Where a download goes, and how its activity is told. */
export interface FetchTarget {
  /** Files that are there already and of the right size are kept. */
  folder: string;
  signal: AbortSignal;
  beat: (details: object) => void;
  token: string | undefined;
}
