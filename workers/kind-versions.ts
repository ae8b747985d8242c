/** For the command line, which may not reach into activities: it binds the same keys as the worker. */
export { kindVersions } from '../activities/kind-versions.ts';
