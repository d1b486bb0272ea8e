// What screens are made of. Beside it stand those that bring much along, and that few screens need: choice, filter, table.
export * from './change';
export * from './copy';
export * from './dialog';
export * from './gone';
export * from './links';
export * from './page';
export * from './rows';
export * from './states';
export * from './text';
export * from './time';
export * from './tone';
