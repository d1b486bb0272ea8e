// The API as the page sees it: typed, with its failures in one shape.
export * from './base';
export * from './change';
export * from './client';
export * from './problem';
export * from './reads';
