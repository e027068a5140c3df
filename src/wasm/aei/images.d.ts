import type { Pool } from "./pool.js";

/** Shows the `.aei` pictures in `root`, and those that come to be there. Importing the module does it for the document. Returns a function that ends this. */
export function watch(root?: ParentNode, pool?: Pool): () => void;
