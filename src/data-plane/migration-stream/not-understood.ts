/** Ends the parsing of a stream whose contents this version does not know; never leaves this module. */
export class NotUnderstood extends Error {}
