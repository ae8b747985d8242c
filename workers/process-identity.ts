/** For the command line, which may not reach into activities. */
export { identify, isAlive, type ProcessIdentity } from '../activities/launchers/process-identity.ts';
