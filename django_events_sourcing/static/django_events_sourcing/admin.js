"use strict";

// A box that ticks all of a name.
for (const box of document.querySelectorAll("[data-ticks]")) {
    box.addEventListener("change", () => {
        for (const each of document.getElementsByName(box.dataset.ticks)) {
            each.checked = box.checked;
        }
    });
}

// On a phone, what is there to be opened should not stand before everything else.
for (const each of document.querySelectorAll("[data-closed-if-narrow]")) {
    each.open = window.matchMedia("(min-width: 768px)").matches;
}

// What follows the server: every few seconds the page is asked for anew, and what of it is different is put in place of
// what was there. Neither scrolls, and what has the focus keeps it.
function follow(id) {

    function replace(old, fresh) {
        if (old.isEqualNode(fresh)) {
            return;
        }
        if (old.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) {
            old.data = fresh.data;
        } else if (old.nodeName === fresh.nodeName && old.childNodes.length === fresh.childNodes.length) {
            for (const { name } of [...old.attributes]) {
                if (!fresh.hasAttribute(name)) {
                    old.removeAttribute(name);
                }
            }
            for (const { name, value } of fresh.attributes) {
                old.setAttribute(name, value);
            }
            [...old.childNodes].forEach((child, place) => replace(child, fresh.childNodes[place]));
        } else if (!old.contains(document.activeElement)) {
            old.replaceWith(fresh.cloneNode(true));
        }
    }

    async function look() {
        try {
            const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
            if (answer.ok && !answer.redirected) {
                const page = new DOMParser().parseFromString(await answer.text(), "text/html");
                const fresh = page.getElementById(id);
                if (fresh) {
                    replace(document.getElementById(id), document.importNode(fresh, true));
                }
            }
        } catch (error) {
            console.warn("The page could not be asked for anew.", error);
        }
        wait();
    }

    function wait() {
        const seconds = Number(document.getElementById(id).dataset.refresh);
        if (seconds) {
            setTimeout(look, 1000 * seconds);
        }
    }

    wait();
}

for (const region of document.querySelectorAll("[data-refresh]")) {
    follow(region.id);
}
