/** What the reader has chosen. Pages read and set it; nothing else is shared between them. */

export const state = {colour: "variance", question: 0, maps: true, text: 0, theme: "auto"};
